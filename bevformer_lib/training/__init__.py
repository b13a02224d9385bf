"""Training of any model that the product exports, on synthetic scenes or on scene folders with boxes.

``python -m bevformer_lib.training`` needs PyTorch, NumPy, SciPy and OpenCV alone, so that it runs on a GPU machine
without the rest of the product.
"""
