"""The build config of Pulsar2, typed: message ``BuildConfig`` of its documentation (edition 2026-07), field by field.

Only what is set is written, so that the converter's own defaults hold for the rest. The documentation's spelling is
kept, ``check_cosine_simularity`` included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeFloat,
    PositiveInt,
    PrivateAttr,
    model_validator,
)
from typing_extensions import Self

from bevformer_lib.pulsar2.compiler_config import CompilerConfig
from bevformer_lib.pulsar2.message import Message, NonEmpty
from bevformer_lib.pulsar2.nested import Location, dotted, put
from bevformer_lib.pulsar2.processors_config import ConstProcessor, InputProcessor, OpProcessor, OutputProcessor

DEFAULT_TENSORS: Final = "DEFAULT"
"""In place of a tensor's name: all of them."""
MOST_NAMED: Final = 5
"""Names in a line about many."""
ARCHIVE_SUFFIXES: Final = (".tar", ".tar.gz", ".zip")
REFINE_WEIGHT_DISABLED: Final = -1.0
REFINE_WEIGHT_LIMIT: Final = 1e-4

NPU_MODES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "AX650": ("NPU1", "NPU2", "NPU3"),
        "AX620E": ("NPU1", "NPU2"),
        "AX615": ("NPU1", "NPU2"),
        "AX637": ("NPU1",),
        "AX8860": ("NPU1", "NPU2", "NPU4"),
        "M76H": ("NPU1", "NPU2", "NPU3"),
        "M57": ("NPU1",),
    }
)
"""Chip -> NPU modes, which count the cores that a model is compiled for."""

if TYPE_CHECKING:
    Hardware: TypeAlias = str
else:
    Hardware = Literal[tuple(NPU_MODES)]
ModelType = Literal["ONNX", "QuantAxModel", "QuantONNX"]
NpuMode = Literal["NPU1", "NPU2", "NPU3", "NPU4"]
LayerDataType = Literal["U8", "S8", "U16", "S16", "FP32"]


class OnnxOptions(Message):
    """``OnnxOptimizeOption``: what is done to the float graph first."""

    disable_onnx_optimization: bool | None = None
    enable_onnxsim: bool | None = None
    model_check: bool | None = None
    disable_transformation_check: bool | None = None
    save_tensors_data: bool | None = None


class InputConfig(Message):
    """``InputQuantConfig``: the calibration set of one input (or of all: ``DEFAULT``)."""

    tensor_name: NonEmpty
    calibration_dataset: NonEmpty
    calibration_format: Literal["Image", "Numpy", "Binary", "NumpyObject"] | None = None
    calibration_size: int | None = None
    calibration_mean: list[FiniteFloat] | None = None
    calibration_std: list[FiniteFloat] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.calibration_dataset.endswith(ARCHIVE_SUFFIXES):
            raise ValueError(f"calibration_dataset must end in {' or '.join(ARCHIVE_SUFFIXES)}")
        if self.calibration_size is not None and self.calibration_size != -1 and self.calibration_size < 1:
            raise ValueError("calibration_size must be 1 or more, or -1 for all samples")
        if 0 in (self.calibration_std or ()):
            raise ValueError("calibration_std divides; it can't be 0")
        return self


class LayerConfig(Message):
    """``LayerConfig``: the precision of operators, chosen by name, by type or as a subgraph between tensors."""

    layer_name: NonEmpty | None = None
    layer_names: list[NonEmpty] | None = None
    op_type: NonEmpty | None = None
    op_types: list[NonEmpty] | None = None
    start_tensor_names: list[NonEmpty] | None = None
    end_tensor_names: list[NonEmpty] | None = None
    data_type: LayerDataType | None = None
    output_data_type: LayerDataType | None = None
    weight_data_type: Literal["S8", "FP32"] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.start_tensor_names) != bool(self.end_tensor_names):
            raise ValueError("start_tensor_names and end_tensor_names need each other")
        selectors = ("layer_name", "layer_names", "op_type", "op_types", "start_tensor_names")
        chosen = [name for name in selectors if getattr(self, name)]
        if len(chosen) != 1:
            raise ValueError(
                "choose exactly one of layer_name, layer_names, op_type, op_types, or start_tensor_names with "
                f"end_tensor_names; found {', '.join(chosen) or 'none'}"
            )
        if self.data_type is None and self.output_data_type is None and self.weight_data_type is None:
            raise ValueError("asks for no precision; give data_type, output_data_type or weight_data_type")
        return self

    @property
    def layers(self) -> list[str]:
        """The operators that it names."""
        return [self.layer_name] if self.layer_name else list(self.layer_names or ())

    @property
    def types(self) -> list[str]:
        """The operator types that it names."""
        return [self.op_type] if self.op_type else list(self.op_types or ())

    @property
    def rank(self) -> int:
        """Which of several requests for one operator counts: the largest; among equals the last one."""
        return 3 if self.layers else 2 if self.types else 1

    def describe(self) -> str:
        """Return what it selects, in a line."""
        if self.start_tensor_names and self.end_tensor_names:
            return f"{', '.join(self.start_tensor_names)} to {', '.join(self.end_tensor_names)}"
        names = self.layers or self.types
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return ", ".join(names[:MOST_NAMED]) + more


class QuantConfig(Message):
    """``QuantConfig``: calibration, precision of layers, and the optimisations of the quantiser."""

    input_configs: list[InputConfig] | None = None
    layer_configs: list[LayerConfig] | None = None
    calibration_method: Literal["MinMax", "Percentile", "MSE", "KL"] | None = None
    precision_analysis: bool | None = None
    precision_analysis_method: Literal["PerLayer", "EndToEnd"] | None = None
    precision_analysis_mode: Literal["Reference", "NPUBackend"] | None = None
    input_sample_dir: str | None = None
    highest_mix_precision: bool | None = None
    conv_bias_data_type: Literal["S32", "FP32"] | None = None
    ln_scale_data_type: Literal["FP32", "S32", "U32"] | None = None
    refine_weight_threshold: FiniteFloat | None = None
    enable_smooth_quant: bool | None = None
    smooth_quant_threshold: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    smooth_quant_strength: NonNegativeFloat | None = None
    transformer_opt_level: Annotated[int, Field(ge=0, le=2)] | None = None
    check: Annotated[int, Field(ge=0, le=1)] | None = None
    disable_auto_refine_scale: bool | None = None
    disable_quant_optimization: bool | None = None
    enable_easy_quant: bool | None = None
    enable_brecq: bool | None = None
    enable_lsq: bool | None = None
    enable_adaround: bool | None = None
    finetune_epochs: PositiveInt | None = None
    finetune_block_size: PositiveInt | None = None
    finetune_batch_size: PositiveInt | None = None
    finetune_lr: Annotated[FiniteFloat, Field(gt=0)] | None = None
    device: Annotated[str, Field(pattern=r"^(cpu|cuda:[0-7])$")] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _refuse_repeats("input_configs", (entry.tensor_name for entry in self.input_configs or ()))
        threshold = self.refine_weight_threshold
        if threshold not in (None, REFINE_WEIGHT_DISABLED) and not 0 <= threshold < REFINE_WEIGHT_LIMIT:
            raise ValueError(f"refine_weight_threshold must be 0 or more and less than {REFINE_WEIGHT_LIMIT}, or -1")
        return self


class DebugOptions(Message):
    """What is written for debugging; the reference leaves it out, other pages of the documentation name it."""

    dump_frontend_graph: bool | None = None


class BuildConfig(Message):
    """``BuildConfig``: everything that `pulsar2 build` can be told."""

    input: NonEmpty | None = None
    output_dir: NonEmpty | None = None
    output_name: NonEmpty | None = None
    work_dir: str | None = None
    model_type: ModelType | None = None
    target_hardware: Hardware | None = None
    npu_mode: NpuMode | None = None
    input_shapes: str | None = None
    onnx_opt: OnnxOptions | None = None
    quant: QuantConfig | None = None
    input_processors: list[InputProcessor] | None = None
    output_processors: list[OutputProcessor] | None = None
    const_processors: list[ConstProcessor] | None = None
    op_processors: list[OpProcessor] | None = None
    quant_op_processors: list[OpProcessor] | None = None
    compiler: CompilerConfig | None = None
    debug: DebugOptions | None = None
    _beyond: tuple[tuple[Location, Any], ...] = PrivateAttr(default=())

    @property
    def beyond(self) -> tuple[str, ...]:
        """Keys and values that this copy of the definition does not hold, kept for a newer one to judge."""
        return tuple(f"{dotted(location)}: unknown key or value" for location, _ in self._beyond)

    @model_validator(mode="after")
    def _check(self) -> Self:
        hardware, mode = self.target_hardware or "AX650", self.npu_mode or "NPU1"
        if mode not in NPU_MODES[hardware]:
            raise ValueError(f"npu_mode {mode}: {hardware} has {', '.join(NPU_MODES[hardware])}")
        if self.input_shapes and not re.fullmatch(r"[^:;]+:\d+(x\d+)*(;[^:;]+:\d+(x\d+)*)*", self.input_shapes):
            raise ValueError(f"input_shapes {self.input_shapes!r} must read like input1:1x3x224x224;input2:1x18")
        for key in ("input_processors", "output_processors"):
            _refuse_repeats(key, (entry.tensor_name for entry in getattr(self, key) or ()))
        compiler = self.compiler
        if compiler is not None and (compiler.start_tensor_names or compiler.end_tensor_names):
            raise ValueError("compiler.start_tensor_names and end_tensor_names belong into compiler.sub_configs")
        return self

    def to_content(self) -> dict[str, Any]:
        """Return what is set, as plain data."""
        content = self.model_dump(exclude_none=True)
        for location, value in self._beyond:
            put(content, location, value)
        return content


def _refuse_repeats(key: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{key}: tensor_name {name!r} is given twice")
        seen.add(name)
