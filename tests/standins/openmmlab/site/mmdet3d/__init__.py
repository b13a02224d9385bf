"""STAND-IN for mmdet3d 1.0.0rc6."""

__version__ = "1.0.0rc6"
