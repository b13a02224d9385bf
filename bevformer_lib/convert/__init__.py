"""Converters: a float ONNX graph and a calibration set become a quantised model."""
