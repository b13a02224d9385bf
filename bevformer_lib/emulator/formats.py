"""Number formats of the NPU: how a range becomes a scale and a zero point, and how a value is rounded.

Unsigned formats are asymmetric: the range is widened to hold 0, ``s = f32((hi - lo) / levels)`` and
``zero_point = rint(-lo / s)``. Signed formats are symmetric: ``s = f32(max|x|) / f32(127.5)``, so the largest positive
value is one code above the top and saturates. Rounding is half to even.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

U8: Final = "U8"
S8: Final = "S8"
U16: Final = "U16"
S16: Final = "S16"
FP32: Final = "FP32"


@dataclass(frozen=True)
class Format:
    """An integer format.

    Attributes:
        name: as ``layer_configs`` call it.
        element_type: of ``onnx.TensorProto``.
    """

    name: str
    bits: int
    low: int
    high: int
    element_type: int

    @property
    def signed(self) -> bool:
        """Whether the format is symmetric, with zero point 0."""
        return self.low < 0


FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        U8: Format(U8, 8, 0, 255, onnx.TensorProto.UINT8),
        S8: Format(S8, 8, -128, 127, onnx.TensorProto.INT8),
        U16: Format(U16, 16, 0, 65535, onnx.TensorProto.UINT16),
        S16: Format(S16, 16, -32768, 32767, onnx.TensorProto.INT16),
    }
)
SIGNED_OF: Final[Mapping[str, str]] = MappingProxyType({U8: S8, S8: S8, U16: S16, S16: S16, FP32: FP32})
"""Format -> the one that a MatMul of two live tensors reads instead."""


def bits_of(name: str) -> int:
    """Return 8, 16 or 32."""
    return FORMATS[name].bits if name in FORMATS else 32


def coarsest(*names: str) -> str:
    """Return the format with the fewest bits, the first among equals."""
    return min(names, key=bits_of)


@dataclass(frozen=True)
class Quantization:
    """How a tensor is rounded.

    Attributes:
        format: one of :data:`FORMATS`.
        scale: float32 value of one step; 0: the calibration set never saw anything but 0, and 0 is what comes out.
        zero_point: the code of 0.
        low: smallest code in use; that of the format unless a real build says otherwise.
        high: largest code in use.
    """

    format: str
    scale: float
    zero_point: int
    low: int
    high: int

    @property
    def smallest(self) -> float:
        """Smallest value that comes through."""
        return (self.low - self.zero_point) * self.scale

    @property
    def largest(self) -> float:
        """Largest value that comes through."""
        return (self.high - self.zero_point) * self.scale

    def mirrored(self) -> Quantization:
        """Return the quantisation of the negated tensor: code 255 - q for code q."""
        if FORMATS[self.format].signed:
            return self
        return Quantization(self.format, self.scale, self.high - self.zero_point, self.low, self.high)

    def round(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values as they come out of the format, float32."""
        if self.scale == 0:
            return np.zeros_like(values, dtype=np.float32)
        codes = np.clip(np.rint(values.astype(np.float64) / self.scale) + self.zero_point, self.low, self.high)
        rounded: NDArray[np.float32] = ((codes - self.zero_point) * self.scale).astype(np.float32)
        return rounded


def quantization_of_range(name: str, lowest: float, highest: float) -> Quantization:
    """Return the quantisation of a tensor whose values span ``lowest`` .. ``highest``."""
    known = FORMATS[name]
    low, high = np.float32(min(lowest, 0)), np.float32(max(highest, 0))
    if known.signed:
        half = np.float32((known.high - known.low) / 2)
        scale = np.float32(max(-low, high) / half)
        return Quantization(name, float(scale), 0, known.low, known.high)
    scale = np.float32((float(high) - float(low)) / known.high)
    zero_point = 0 if scale == 0 else int(np.clip(np.rint(-float(low) / float(scale)), known.low, known.high))
    return Quantization(name, float(scale), zero_point, known.low, known.high)


def round_constant(name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round a constant that an elementwise operator reads, over the range of its own values."""
    if values.size == 0:
        return values
    return quantization_of_range(name, float(values.min()), float(values.max())).round(values)


def round_weight(weight: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    """Round a weight to S8, with a scale per output channel.

    Args:
        weight: float32.
        axis: of the output channels; ``None``: one scale for all.

    Returns:
        float32; channels of zeros stay zeros.
    """
    others = tuple(place for place in range(weight.ndim) if axis is None or place != axis % weight.ndim)
    scales = (np.abs(weight).max(axis=others, keepdims=True) / np.float32(127.5)).astype(np.float32)
    # The division is in float32, as in the tool: in float64 some codes come out one off.
    codes = np.clip(np.rint(weight / np.where(scales == 0, np.float32(1), scales)), -128, 127)
    rounded: NDArray[np.float32] = (codes * scales).astype(np.float32)
    return rounded
