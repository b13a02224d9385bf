"""BEVFormer from a checkpoint to an AXERA NPU: model, export, temporal calibration, quantisation, evaluation.

This package knows nothing of Prefect. The modules that run on the board (``config``, ``scenes``, ``runtime``,
``evaluate``, ``drawing``) import neither PyTorch nor ONNX.
"""

__version__ = "0.1.0"
