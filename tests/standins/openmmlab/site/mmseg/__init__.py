"""STAND-IN for mmsegmentation 0.x; nothing here is called."""

__version__ = "0.30.0"
