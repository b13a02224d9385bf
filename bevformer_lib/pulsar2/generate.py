"""The build config of one conversion, made from the graph, the calibration set, a recipe and the user's overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import onnx

from bevformer_lib.calibration.archive import CalibrationSet
from bevformer_lib.calibration.pack import archive_name
from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.build_config import (
    ARCHIVE_SUFFIXES,
    DEFAULT_TENSORS,
    NPU_MODES,
    BuildConfig,
)
from bevformer_lib.pulsar2.errors import BuildConfigError
from bevformer_lib.pulsar2.overrides import merge, read_overrides
from bevformer_lib.pulsar2.parse import parse_build_config
from bevformer_lib.pulsar2.pixel_input import input_processor
from bevformer_lib.pulsar2.recipes import RECIPE_SAMPLES, recipe_content
from bevformer_lib.pulsar2.settings import Pulsar2Settings

DEFAULT_HARDWARE: Final = "AX650"
COMPILED_AS: Final[Mapping[str, str]] = MappingProxyType({"AX8850": "AX650"})
"""Chip -> what the converter calls it: AX8850 runs files that are compiled for AX650."""
_SAMPLE_DIR: Final = "input_sample_dir"


def generate_build_config(
    graph: onnx.GraphProto,
    samples: CalibrationSet,
    settings: Pulsar2Settings,
    *,
    target: str = DEFAULT_HARDWARE,
    overrides: Path | None = None,
    keep_unknown: bool = False,
) -> BuildConfig:
    """Return the build config; its paths are those of this machine.

    Every input calibrated with its NumPy archive, and processors that keep inputs and outputs in float, but for images
    that are pixels.

    Args:
        graph: the float graph.
        samples: its calibration set.
        settings: how to quantise and compile.
        target: the chip.
        overrides: YAML file with the structure of the build config; paths in it are relative to it.
        keep_unknown: whether keys that are not known here are kept, for the installed converter's definition to judge.

    Raises:
        BuildConfigError: the overrides, or what they lead to, are wrong.
        ConversionError: the chip is not known.
    """
    if target not in NPU_MODES and target not in COMPILED_AS:
        raise ConversionError(f"target '{target}' is not known; use one of: {', '.join((*NPU_MODES, *COMPILED_AS))}")
    target = COMPILED_AS.get(target, target)
    recipe: str = settings.recipe
    npu_mode: str | None = settings.npu_mode
    chosen = recipe_content(recipe, graph)
    if npu_mode is None and chosen.get("npu_mode") not in NPU_MODES[target]:
        npu_mode = NPU_MODES[target][-1]
    content = merge(_inputs_and_outputs(graph, samples, recipe), chosen)
    content |= {"model_type": "ONNX", "target_hardware": target}
    if npu_mode is not None:
        content["npu_mode"] = npu_mode
    source = f"recipe '{recipe}'"
    if overrides is not None:
        theirs = read_overrides(overrides)
        chosen_chip = {"target_hardware": target, "npu_mode": content["npu_mode"]}
        parse_build_config(chosen_chip | _complete_inputs(theirs), str(overrides), keep_unknown=keep_unknown)
        content = merge(content, with_host_paths(theirs, lambda path: str((overrides.parent / path).absolute())))
        source = f"{overrides} over recipe '{recipe}'"
    config = parse_build_config(content, source, keep_unknown=keep_unknown)
    _check_input_shapes(config, graph, source)
    _check_names(config, graph, source)
    return config


def with_host_paths(content: dict[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
    """Return a build config's content with every path of an input file replaced by ``place(path)``."""
    content = dict(content)
    for key in ("quant", "compiler"):
        if isinstance(content.get(key), dict) and content[key].get(_SAMPLE_DIR):
            content[key] = content[key] | {_SAMPLE_DIR: place(content[key][_SAMPLE_DIR])}
    if isinstance(content.get("quant"), dict) and content["quant"].get("input_configs"):
        inputs = [_placed(entry, "calibration_dataset", place) for entry in content["quant"]["input_configs"]]
        content["quant"] = content["quant"] | {"input_configs": inputs}
    if content.get("const_processors"):
        content["const_processors"] = [_placed(entry, "data_path", place) for entry in content["const_processors"]]
    return content


def _placed(entry: dict[str, Any], key: str, place: Callable[[str], str]) -> dict[str, Any]:
    return entry | {key: place(entry[key])} if entry.get(key) else entry


def _complete_inputs(theirs: dict[str, Any]) -> dict[str, Any]:
    """Make overrides that touch only some fields of a calibration entry checkable on their own."""
    quant = theirs.get("quant")
    if not isinstance(quant, dict) or not isinstance(quant.get("input_configs"), list):
        return theirs
    known = {"calibration_dataset": ARCHIVE_SUFFIXES[0]}
    inputs = [known | entry if isinstance(entry, dict) else entry for entry in quant["input_configs"]]
    return theirs | {"quant": quant | {"input_configs": inputs}}


def _inputs_and_outputs(graph: onnx.GraphProto, samples: CalibrationSet, recipe: str) -> dict[str, Any]:
    size = min(RECIPE_SAMPLES.get(recipe, samples.num_samples), samples.num_samples)
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    return {
        "quant": {
            "input_configs": [
                {
                    "tensor_name": name,
                    "calibration_dataset": str((samples.folder / archive_name(name)).absolute()),
                    "calibration_format": "Numpy",
                    "calibration_size": size,
                }
                for name in inputs
            ]
        },
        "input_processors": [input_processor(graph, name) for name in inputs],
        "output_processors": [{"tensor_name": value.name, "output_dtype": "FP32"} for value in graph.output],
        "compiler": {"check": 0},
    }


def _check_names(config: BuildConfig, graph: onnx.GraphProto, source: str) -> None:
    """Refuse entries for inputs and outputs that the graph does not have."""
    inputs, outputs = ({value.name for value in values} | {DEFAULT_TENSORS} for values in (graph.input, graph.output))
    calibrated = config.quant.input_configs if config.quant is not None else None
    for key, names, known in (
        ("quant.input_configs", [entry.tensor_name for entry in calibrated or ()], inputs),
        ("input_processors", [entry.tensor_name for entry in config.input_processors or ()], inputs),
        ("output_processors", [entry.tensor_name for entry in config.output_processors or ()], outputs),
    ):
        for place, name in enumerate(names):
            if name not in known:
                raise BuildConfigError(
                    f"{source}: {key}.{place}.tensor_name: the model has no '{name}'; "
                    f"it has {', '.join(sorted(known - {DEFAULT_TENSORS}))}"
                )


def _check_input_shapes(config: BuildConfig, graph: onnx.GraphProto, source: str) -> None:
    """Refuse shapes for inputs that the graph does not have, of another rank, or with another batch."""
    declared = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in graph.input}
    for entry in (config.input_shapes or "").split(";") if config.input_shapes else ():
        name, _, sizes = entry.rpartition(":")
        asked = [int(size) for size in sizes.split("x")]
        batch = declared.get(name, [0])[0]
        if name not in declared:
            known = ", ".join(declared)
            raise BuildConfigError(f"{source}: input_shapes: the model has no input '{name}'; it has {known}")
        if len(asked) != len(declared[name]):
            raise BuildConfigError(
                f"{source}: input_shapes: '{name}' has {len(declared[name])} axes, {entry!r} gives {len(asked)}"
            )
        if asked[0] != batch:
            raise BuildConfigError(
                f"{source}: input_shapes: {entry!r} changes the batch of '{name}' from {batch} to {asked[0]}, "
                "which the shapes inside the graph don't follow; export it with that batch"
            )
