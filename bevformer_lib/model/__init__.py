"""BEVFormer in plain PyTorch; parameter names equal the original's (fundamentalvision/BEVFormer).

The arithmetic is written so that what PyTorch runs is what ONNX exports: there is no branch on exporting, every shape
is static, and only operators that the NPU lists are used.
"""
