"""What an ONNX graph costs: multiplications, parameters, memory, and time per operator."""
