"""An `.axmodel` read as the ONNX container that it is, and compared with the graph it was made from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from bevformer_lib.errors import ConversionError
from bevformer_lib.foreign_files import advice
from bevformer_lib.pulsar2.build_config import DEFAULT_TENSORS, BuildConfig
from bevformer_lib.runtime.base import TensorSpec

PRODUCER: Final = "Pulsar2"
NPU_NODE: Final = "neu mode"
_VERSION: Final = re.compile(r"Version:\s*(\S+)")
_COMMIT: Final = re.compile(r"Commit:\s*(\S+)")
_DTYPES: Final[Mapping[str, str]] = {
    "U8": "uint8",
    "S8": "int8",
    "U16": "uint16",
    "S16": "int16",
    "U32": "uint32",
    "S32": "int32",
    "FP16": "float16",
    "FP32": "float32",
}


@dataclass(frozen=True)
class AxModel:
    """What an `.axmodel` says about itself.

    Attributes:
        version: of the converter that made it; ``None``: not said.
        commit: likewise.
        inputs: by name, as the compiled model takes them.
        npu_subgraphs: nodes that run on the NPU.
        other_nodes: operator type -> nodes that don't.
    """

    path: Path
    version: str | None
    commit: str | None
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    npu_subgraphs: int
    other_nodes: Mapping[str, int]

    def to_content(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "version": self.version,
            "commit": self.commit,
            "bytes": self.path.stat().st_size,
            "npu_subgraphs": self.npu_subgraphs,
            "other_nodes": dict(self.other_nodes),
            "inputs": [_spec_content(spec) for spec in self.inputs.values()],
            "outputs": [_spec_content(spec) for spec in self.outputs.values()],
        }


def read_axmodel(path: Path) -> AxModel:
    """Read an `.axmodel`'s interface; its weights and code are not looked at.

    Raises:
        ConversionError: it is no `.axmodel`, or has dynamic shapes.
    """
    # protobuf's DecodeError has no typed home.
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        what = advice(path, "convert it again")
        raise ConversionError(f"{path}: is no ONNX container ({error}), so no .axmodel; {what}") from error
    if not model.graph.node or not model.graph.output:
        raise ConversionError(f"{path}: holds no graph, so it is no .axmodel; convert the model again")
    if model.producer_name != PRODUCER:
        raise ConversionError(
            f"{path}: its producer is '{model.producer_name}', not {PRODUCER}: it is an ONNX model, not an .axmodel"
        )
    constants = {tensor.name for tensor in model.graph.initializer}
    kinds = [node.op_type for node in model.graph.node]
    version, commit = _VERSION.search(model.doc_string), _COMMIT.search(model.doc_string)
    return AxModel(
        path,
        version.group(1) if version else None,
        commit.group(1) if commit else None,
        graph_specs([value for value in model.graph.input if value.name not in constants], path),
        graph_specs(model.graph.output, path),
        kinds.count(NPU_NODE),
        {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind != NPU_NODE},
    )


def graph_specs(values: Sequence[onnx.ValueInfoProto], path: Path) -> dict[str, TensorSpec]:
    """Return names, shapes and dtypes of a graph's inputs or outputs.

    Raises:
        ConversionError: a shape is dynamic.
    """
    specs = {}
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(size.dim_value for size in tensor.shape.dim)
        if not all(size > 0 for size in shape):
            raise ConversionError(f"{path}: '{value.name}' has a dynamic shape; export the model with static shapes")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        specs[value.name] = TensorSpec(value.name, shape, np.dtype(dtype))
    return specs


def interface_defects(compiled: AxModel, model: onnx.ModelProto, path: Path, config: BuildConfig) -> list[str]:
    """Compare a compiled model's inputs and outputs with the float graph's, as the config changes them.

    Args:
        compiled: the `.axmodel`.
        model: the float graph.
        path: its file.
        config: what the build was told; its processors change dtypes and shapes on purpose.

    Returns:
        One sentence per difference.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    sides: tuple[tuple[str, Mapping[str, TensorSpec], Mapping[str, TensorSpec]], ...] = (
        ("input", graph_specs([v for v in model.graph.input if v.name not in constants], path), compiled.inputs),
        ("output", graph_specs(model.graph.output, path), compiled.outputs),
    )
    defects = []
    for kind, float_specs, specs in sides:
        defects += [f"it has no {kind} '{name}'" for name in float_specs if name not in specs]
        defects += [f"it has an unknown {kind} '{name}'" for name in specs if name not in float_specs]
        for name in float_specs:
            if name in specs:
                shape, dtype = _expected(kind, float_specs[name], config)
                found = specs[name]
                if found.dtype != dtype:
                    defects.append(f"{kind} '{name}' is {found.dtype}, asked for was {dtype}")
                if shape is not None and found.shape != shape:
                    defects.append(f"{kind} '{name}' has the shape {found.shape}, the graph's is {shape}")
    return defects


def _expected(kind: str, spec: TensorSpec, config: BuildConfig) -> tuple[tuple[int, ...] | None, np.dtype[Any]]:
    """Return shape and dtype that a tensor should have; a shape of ``None`` is one that the config rewrites."""
    batched = config.compiler is not None and (
        config.compiler.static_batch_sizes or config.compiler.max_dynamic_batch_size
    )
    shape: tuple[int, ...] | None = None if batched or config.input_shapes else spec.shape
    if kind == "input":
        for source in (e for e in config.input_processors or () if e.tensor_name in (spec.name, DEFAULT_TENSORS)):
            if source.src_layout or source.padding or source.slicing or source.src_format or source.src_extra_shapes:
                shape = None
            return shape, np.dtype(_DTYPES[source.src_dtype]) if source.src_dtype else spec.dtype
    else:
        for sink in (e for e in config.output_processors or () if e.tensor_name in (spec.name, DEFAULT_TENSORS)):
            if sink.dst_perm and shape is not None and len(sink.dst_perm) == len(shape):
                shape = tuple(shape[axis] for axis in sink.dst_perm)
            return shape, np.dtype(_DTYPES[sink.output_dtype]) if sink.output_dtype else spec.dtype
    return shape, spec.dtype


def _spec_content(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": str(spec.dtype)}
