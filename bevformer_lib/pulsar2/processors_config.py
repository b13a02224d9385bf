"""The parts of the build config that change a model's inputs, outputs, constants and operators."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, Final, Literal

from pydantic import FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from typing_extensions import Self

from bevformer_lib.pulsar2.message import Message, NonEmpty

CONSTANT_SUFFIXES: Final = (".bin", ".npy", ".txt")
CSC_MATRIX_SIZE: Final = 12
CSC_BIAS_PLACES: Final = (3, 7, 11)
CSC_BIAS_RANGE: Final = (-9.0, 8.0)
CSC_FACTOR_RANGE: Final = (-524289.0, 524288.0)
YUV_FORMATS: Final = frozenset({"YUYV422", "UYVY422", "YUV420SP", "YVU420SP"})
NO_CONVERSION: Final = "NoCSC"

SourceDataType = Literal["U8", "S8", "U16", "S16", "U32", "S32", "FP16", "FP32"]
SourceFormat = Literal["AutoColorSpace", "GRAY", "BGR", "RGB", "YUYV422", "UYVY422", "YUV420SP", "YVU420SP", "RAW"]


class Shape(Message):
    """``common.Shape``."""

    shape: list[PositiveInt]


class InputProcessor(Message):
    """``InputProcessor``: what is done to an input at run time, before the original model."""

    tensor_name: NonEmpty
    tensor_format: Literal["AutoColorSpace", "BGR", "RGB", "GRAY"] | None = None
    tensor_layout: Literal["NHWC", "NCHW"] | None = None
    src_format: SourceFormat | None = None
    src_layout: Literal["NHWC", "NCHW"] | None = None
    src_dtype: SourceDataType | None = None
    src_extra_shapes: list[Shape] | None = None
    csc_mode: Literal["NoCSC", "Matrix", "FullRange", "LimitedRange"] | None = None
    csc_mat: list[FiniteFloat] | None = None
    mean: list[FiniteFloat] | None = None
    std: list[FiniteFloat] | None = None
    padding: list[NonNegativeInt] | None = None
    padding_mode: Literal["constant"] | None = None
    padding_constant_value: int | None = None
    slicing: list[NonNegativeInt] | None = None
    scale: NonNegativeFloat | None = None
    zeropoint: int | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.src_format in YUV_FORMATS and (self.csc_mode or NO_CONVERSION) == NO_CONVERSION:
            raise ValueError(
                f"src_format {self.src_format} with csc_mode {NO_CONVERSION} (the default) converts no colours; give "
                "FullRange, LimitedRange or Matrix"
            )
        if self.csc_mode == "Matrix" and not self.csc_mat:
            raise ValueError("csc_mode Matrix needs csc_mat")
        if self.csc_mat:
            _check_csc_matrix(self.csc_mat)
        if 0 in (self.std or ()):
            raise ValueError("std divides; it can't be 0")
        return self


class OutputProcessor(Message):
    """``OutputProcessor``: what is done to an output at run time, after the original model."""

    tensor_name: NonEmpty
    tensor_layout: Literal["NHWC", "NCHW"] | None = None
    dst_perm: list[NonNegativeInt] | None = None
    output_dtype: Literal["FP32", "U8"] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dst_perm and sorted(self.dst_perm) != list(range(len(self.dst_perm))):
            raise ValueError(f"dst_perm {self.dst_perm} is no order of the axes 0 .. {len(self.dst_perm) - 1}")
        return self


class ConstProcessor(Message):
    """``ConstProcessor``: other values for a constant of the model."""

    name: NonEmpty
    data: list[FiniteFloat] | None = None
    data_path: NonEmpty | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.data is None) == (self.data_path is None):
            raise ValueError("give either data or data_path")
        if self.data_path is not None and PurePath(self.data_path).suffix not in CONSTANT_SUFFIXES:
            raise ValueError(f"data_path must end in {', '.join(CONSTANT_SUFFIXES)}")
        return self


class OpProcessor(Message):
    """``OpProcessor``: other attributes for an operator of the model."""

    op_name: NonEmpty
    attrs: dict[str, Any]


def _check_csc_matrix(values: list[float]) -> None:
    if len(values) != CSC_MATRIX_SIZE:
        raise ValueError(f"csc_mat has {len(values)} values; a 3 x 4 matrix has {CSC_MATRIX_SIZE}")
    for place, value in enumerate(values):
        low, high = CSC_BIAS_RANGE if place in CSC_BIAS_PLACES else CSC_FACTOR_RANGE
        if not low < value < high:
            raise ValueError(f"csc_mat[{place}] is {value}; it must lie between {low:g} and {high:g}")
