"""The part of the build config that steers the compiler: message ``CompilerConfig``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator
from typing_extensions import Self

from bevformer_lib.pulsar2.message import Message


class PatternNode(Message):
    """``Node`` of a group pattern."""

    types: list[str] | None = None
    inputs: list[str] | None = None
    outputs: list[str] | None = None
    properties: dict[str, Any] | None = None


class GroupPattern(Message):
    """``Graph``: operators that are scheduled together."""

    nodes: list[PatternNode] | None = None
    type: Literal["Tile", "Slice"] | None = None
    match_mode: Literal["Op", "Tensor"] | None = None


class CompilerConfig(Message):
    """``CompilerConfig``; inside ``sub_configs`` it holds for the subgraph between its tensors."""

    static_batch_sizes: list[PositiveInt] | None = None
    max_dynamic_batch_size: NonNegativeInt | None = None
    ddr_bw_limit: NonNegativeFloat | None = None
    disable_ir_fix: bool | None = None
    check: Annotated[int, Field(ge=0, le=3)] | None = None
    npu_perf: bool | None = None
    check_mode: Literal["CheckOutput", "CheckPerLayer"] | None = None
    check_rtol: NonNegativeFloat | None = None
    check_atol: NonNegativeFloat | None = None
    check_cosine_simularity: Annotated[FiniteFloat, Field(ge=-1, le=1)] | None = None
    check_tensor_black_list: list[str] | None = None
    enable_slice_mode: bool | None = None
    enable_tile_mode: bool | None = None
    enable_data_soft_compression: bool | None = None
    input_sample_dir: str | None = None
    compiler_group_patterns: list[GroupPattern] | None = None
    sub_configs: list[CompilerConfig] | None = None
    start_tensor_names: list[str] | None = None
    end_tensor_names: list[str] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.static_batch_sizes and self.max_dynamic_batch_size:
            raise ValueError("static_batch_sizes and max_dynamic_batch_size exclude each other")
        for sub_config in self.sub_configs or ():
            if not sub_config.start_tensor_names or not sub_config.end_tensor_names:
                raise ValueError("every entry of sub_configs needs start_tensor_names and end_tensor_names")
        return self
