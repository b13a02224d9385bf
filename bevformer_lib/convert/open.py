"""Converters by name."""

from __future__ import annotations

from typing import Final

from bevformer_lib.convert.base import Converter
from bevformer_lib.errors import ConversionError

ONNXRUNTIME: Final = "onnxruntime"
CONVERTER_KINDS: Final = (ONNXRUNTIME,)


def open_converter(kind: str, *, device: str = "cpu", threads: int | None = None) -> Converter:
    """Return a converter.

    Args:
        kind: one of :data:`CONVERTER_KINDS`.
        device: where it runs the float model to calibrate: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads that it may use; ``None``: its own choice.

    Raises:
        ConversionError: the kind is not known.
    """
    if kind == ONNXRUNTIME:
        from bevformer_lib.convert.onnxruntime import OnnxRuntimeConverter

        return OnnxRuntimeConverter(device=device, threads=threads)
    raise ConversionError(f"converter '{kind}' is not known; use one of: {', '.join(CONVERTER_KINDS)}")
