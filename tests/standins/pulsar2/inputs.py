"""What the stand-in checks before it builds: the graph against the chip's list, the archives against the graph."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.standins.pulsar2.operators import as_computed, refusal


class BuildRefusedError(Exception):
    """What the vendor's converter would end with."""


def load_graph(path: Path) -> onnx.ModelProto:
    """Load the float graph, refuse what the converter can't do, and give back what the chip computes."""
    try:
        model = onnx.load(str(path))
        if all(onnx.defs.has(node.op_type) for node in model.graph.node):
            onnx.checker.check_model(model)
    except Exception as error:
        raise BuildRefusedError(f"onnx.onnx_cpp2py_export.checker.ValidationError: {error}") from error
    if min(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) < 11:
        raise BuildRefusedError("ValueError: opset version must be >= 11")
    for value in [*model.graph.input, *model.graph.output]:
        if not all(size.dim_value > 0 for size in value.type.tensor_type.shape.dim):
            raise BuildRefusedError(f"ValueError: tensor [{value.name}] has a dynamic shape, please set input_shapes")
    said = refusal(model)
    if said is not None:
        raise BuildRefusedError(said)
    return as_computed(model)


def load_calibration(config: dict[str, Any], model: onnx.ModelProto, place: Any) -> list[dict[str, np.ndarray]]:
    """Open every input's archive and return the samples; names of members match samples of different inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in constants}
    entries = {entry["tensor_name"]: entry for entry in config["quant"]["input_configs"]}
    for name in entries:
        if name not in inputs and name != "DEFAULT":
            raise BuildRefusedError(
                f"KeyError: input_configs tensor_name [{name}] not found in model inputs {list(inputs)}"
            )
    samples: dict[str, dict[str, np.ndarray]] = {}
    for name, value in inputs.items():
        entry = entries.get(name) or entries.get("DEFAULT")
        if entry is None:
            raise BuildRefusedError(f"ValueError: input [{name}] has no input_configs")
        if entry.get("calibration_format", "Image") != "Numpy":
            raise BuildRefusedError(
                f"PIL.UnidentifiedImageError: cannot identify image file of input [{name}]: calibration_format is "
                f"{entry.get('calibration_format', 'Image')} and the members are .npy"
            )
        arrays = _read(place(entry["calibration_dataset"]), entry["calibration_dataset"])
        size = entry.get("calibration_size", 32)
        kept = dict(list(arrays.items())[: None if size == -1 else size])
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for member, array in kept.items():
            if array.dtype != dtype or array.shape != shape:
                raise BuildRefusedError(
                    f"ValueError: [{member}] of input [{name}] is {array.dtype} {array.shape}, expected {dtype} {shape}"
                )
            samples.setdefault(member, {})[name] = array
    whole = [sample for sample in samples.values() if len(sample) == len(inputs)]
    if not whole or len(whole) != len(samples):
        raise BuildRefusedError("ValueError: calibration datasets of different inputs hold different file names")
    return whole


def check_names(config: dict[str, Any], model: onnx.ModelProto) -> None:
    """Refuse processors and layer configs that name what the graph has not."""
    graph = model.graph
    for key, values in (("input_processors", graph.input), ("output_processors", graph.output)):
        known = {value.name for value in values} | {"DEFAULT"}
        for entry in config.get(key, ()):
            if entry["tensor_name"] not in known:
                raise BuildRefusedError(f"KeyError: {key} tensor_name [{entry['tensor_name']}] not found in model")
    tensors = {name for node in graph.node for name in [*node.input, *node.output]} | {"DEFAULT"}
    for entry in config["quant"].get("layer_configs", ()):
        for name in [*entry.get("start_tensor_names", ()), *entry.get("end_tensor_names", ())]:
            if name not in tensors:
                raise BuildRefusedError(f"KeyError: layer_configs tensor [{name}] not found in graph")


def _read(path: Path, named: str) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise BuildRefusedError(f"FileNotFoundError: [Errno 2] No such file or directory: '{named}'")
    contents: dict[str, bytes] = {}
    try:
        if named.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                contents = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
        else:
            with tarfile.open(path) as archive:
                for member in archive:
                    file = archive.extractfile(member)
                    if file is not None:
                        contents[member.name] = file.read()
        return {name: np.load(io.BytesIO(data), allow_pickle=False) for name, data in sorted(contents.items())}
    except (tarfile.TarError, zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise BuildRefusedError(f"tarfile.ReadError: can't extract [{named}]: {error}") from error
