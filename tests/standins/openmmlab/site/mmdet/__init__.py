"""STAND-IN for mmdet 2.x; nothing here is called."""

__version__ = "2.28.2"
