"""From a checkpoint to a static ONNX graph that has been checked against the chip and against PyTorch."""
