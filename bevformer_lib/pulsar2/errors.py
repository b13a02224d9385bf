"""What can go wrong with the vendor's converter, told apart."""

from __future__ import annotations

from bevformer_lib.errors import ConversionError


class ToolMissingError(ConversionError):
    """Neither a native `pulsar2` nor a working docker was found."""


class ImageMissingError(ConversionError):
    """Docker works, but the image is not loaded."""


class BuildConfigError(ConversionError):
    """The build config is wrong: an unknown key, a value out of range, choices that exclude each other."""


class BuildFailedError(ConversionError):
    """The converter ran and failed; the message ends with its last meaningful lines."""


class BuildTimeoutError(ConversionError):
    """The converter was stopped because it ran past its time limit."""


class BuildMemoryError(ConversionError):
    """The converter was killed for memory, or ran out of it."""


class BuildCancelledError(ConversionError):
    """The converter was stopped because it was asked to."""
