"""The float graph that every converter starts from, checked against the calibration set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx

from bevformer_lib.calibration.archive import CalibrationSet, read_calibration
from bevformer_lib.convert.base import FLOAT_MODEL_SHA256
from bevformer_lib.errors import ConversionError
from bevformer_lib.export.graph import default_opset, node_label
from bevformer_lib.export.lint.facts import graph_facts
from bevformer_lib.export.lint.validity import invalid_nodes
from bevformer_lib.files import sha256_of_file
from bevformer_lib.onnx_file import read_onnx
from bevformer_lib.runtime.base import TensorSpec
from bevformer_lib.strict_npy import HEADER_BYTES


def load_float_model(path: Path) -> onnx.ModelProto:
    """Read a float model and give every node a name of its own.

    Raises:
        ConversionError: the file is no ONNX model, or one that is quantised already.
    """
    try:
        model = read_onnx(path)
    except OSError as error:
        raise ConversionError(f"{path}: can't be read ({error.strerror or error}); check the path") from error
    except ValueError as error:
        raise ConversionError(f"{path}: {error}") from error
    for node, why in invalid_nodes(model, default_opset(model)):
        raise ConversionError(f"{path}: its node {node_label(node)!r} is not valid: {why}; export it again")
    if contradiction := graph_facts(model).contradiction:
        raise ConversionError(f"{path}: the graph is not valid ONNX ({contradiction}); export it again")
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise ConversionError(f"{path}: is quantised already; give the float model")
    uses = Counter(node.name for node in model.graph.node)
    for place, node in enumerate(model.graph.node):
        if not node.name or uses[node.name] > 1:
            node.name = f"{node.op_type}.{place}"
    return model


def float_model_sha256(model: onnx.ModelProto, path: Path) -> str:
    """Return the digest of the exported graph: the model's file, or what its metadata says that it was made from."""
    given = {entry.key: entry.value for entry in model.metadata_props}
    return given.get(FLOAT_MODEL_SHA256) or sha256_of_file(path)


def load_graph(path: Path) -> onnx.GraphProto:
    """Read the graph of a model that :func:`load_float_model` accepts, without weights in other files."""
    return onnx.load(str(path), load_external_data=False).graph


def external_files(path: Path) -> list[str]:
    """Return the files beside a model that hold weights of it, relative to its folder."""
    graph = load_graph(path)
    named = {entry.value for tensor in graph.initializer for entry in tensor.external_data if entry.key == "location"}
    return sorted(named)


def read_calibration_for(model: onnx.ModelProto, path: Path, folder: Path) -> CalibrationSet:
    """Read a calibration set whose tensors have the names, shapes and types of a model's inputs.

    Raises:
        CalibrationError: the set is broken.
        ConversionError: it was not made for the model; with every disagreement.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    wanted = {
        value.name: TensorSpec(
            value.name,
            tuple(size.dim_value for size in value.type.tensor_type.shape.dim),
            onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
        )
        for value in model.graph.input
        if value.name not in constants
    }
    samples = read_calibration(folder, sum(spec.num_bytes + HEADER_BYTES for spec in wanted.values()))
    defects = [f"the set has no input '{name}'" for name in wanted if name not in samples.tensors]
    defects += [f"the model has no input '{name}'" for name in samples.tensors if name not in wanted]
    defects += [
        f"{name} is {spec.dtype} {spec.shape} in the set, the model takes {wanted[name].dtype} {wanted[name].shape}"
        for name, spec in samples.tensors.items()
        if name in wanted and wanted[name] != spec
    ]
    if defects:
        raise ConversionError(
            f"{samples.folder} was not made for {path}: {'; '.join(defects)}; make the calibration set with this model"
        )
    return samples
