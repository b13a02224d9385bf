"""STAND-IN for the compiled operators of mmcv-full; nothing here is called."""
