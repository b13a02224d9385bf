"""Whether a loaded model is the BEVFormer that a config describes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bevformer_lib.config.inference_config import InferenceConfig, inference_config_of
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ConfigError
from bevformer_lib.names import (
    CAN_BUS_SIZE,
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_NAMES,
    INPUT_PREV_BEV,
    OUTPUT_BEV_EMBED,
    OUTPUT_CLASSES,
    OUTPUT_COORDS,
    OUTPUT_NAMES,
)
from bevformer_lib.runtime.base import Runtime, TensorSpec
from bevformer_lib.runtime.camera_calibration import camera_capacity_of
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.runtime.model_metadata import BEV_HW_KEY

CODE_SIZE: Final = 10
"""Values per query of ``outputs_coords``: cx, cy, log w, log l, cz, log h, sin, cos, vx, vy."""


@dataclass(frozen=True)
class ModelGeometry:
    """The facts that a model's interface holds and the inference config does not.

    Attributes:
        image_hw: image size (height, width) in pixels, padded, as the model is fed.
        decoder_layers: decoder layers whose outputs the model gives.
    """

    num_cams: int
    image_hw: tuple[int, int]
    decoder_layers: int


def check_model(runtime: Runtime, config: InferenceConfig, model: Path) -> ModelGeometry:
    """Check a model's inputs and outputs against the inference config.

    Returns:
        What the model's interface says beyond the config.

    Raises:
        ConfigError: with every disagreement.
        RuntimeUnavailableError: the model leaves its geometry to the host, and nothing says how.
        CameraCalibrationError: the camera capacity of the model or the config is damaged, or another model's.
    """
    runtime = with_host_geometry(runtime, config.host_geometry, source=str(model))
    defects = _defects(runtime, config, model)
    if defects:
        raise ConfigError(
            f"{model}: this model and the inference config don't belong together; "
            f"export the model and extract the config from the same model config\n{_listed(defects)}"
        )
    return _geometry_of(runtime)


def check_graph(runtime: Runtime, config: ModelConfig, model: Path) -> None:
    """Check a graph's inputs and outputs against the model config that it should be exported from.

    Raises:
        ConfigError: with every disagreement.
        RuntimeUnavailableError: the graph leaves its geometry to the host, and does not say how.
        CameraCalibrationError: the graph's camera capacity is damaged, or another model's.
    """
    runtime = with_host_geometry(runtime, source=str(model))
    defects = _defects(runtime, inference_config_of(config), model)
    if not defects:
        found, height, width = _geometry_of(runtime), *config.image_hw
        facts = (
            ("cameras", str(found.num_cams), str(config.num_cams)),
            ("image size", f"{found.image_hw[0]} x {found.image_hw[1]}", f"{height} x {width}"),
            ("decoder layers", str(found.decoder_layers), str(config.decoder.num_layers)),
        )
        defects = [f"its {what}: {given}, the config's: {wanted}" for what, given, wanted in facts if given != wanted]
    if defects:
        raise ConfigError(
            f"{model}: this graph is not the model that the config describes; export it from this config, with this "
            f"image size\n{_listed(defects)}"
        )


def _defects(runtime: Runtime, config: InferenceConfig, model: Path) -> list[str]:
    defects = list(_name_defects(runtime)) or list(_shape_defects(runtime, config))
    if defects:
        return defects
    bev_hw = runtime.metadata.get(BEV_HW_KEY)
    if bev_hw not in (None, f"{config.bev_h}x{config.bev_w}"):
        return [f"its BEV is {bev_hw} (rows x columns), the config makes it {config.bev_h}x{config.bev_w}"]
    capacity = camera_capacity_of(runtime, config.camera_capacity, source=str(model))
    if capacity is not None and (capacity.grid.bev_h, capacity.grid.bev_w) != (config.bev_h, config.bev_w):
        grid = capacity.grid
        return [f"its BEV is {grid.bev_h} x {grid.bev_w}, the config makes it {config.bev_h} x {config.bev_w}"]
    return []


def _listed(defects: Iterable[str]) -> str:
    return "\n".join(f"  - {defect}" for defect in defects)


def _geometry_of(runtime: Runtime) -> ModelGeometry:
    _, num_cams, _, height, width = runtime.inputs[INPUT_IMG].shape
    return ModelGeometry(num_cams, (height, width), runtime.outputs[OUTPUT_CLASSES].shape[0])


def _name_defects(runtime: Runtime) -> Iterator[str]:
    for kind, expected, found in (
        ("input", INPUT_NAMES, runtime.inputs),
        ("output", OUTPUT_NAMES, runtime.outputs),
    ):
        yield from (f"it has no {kind} '{name}'" for name in expected if name not in found)
        yield from (f"it has an unknown {kind} '{name}'" for name in found if name not in expected)


def _shape_defects(runtime: Runtime, config: InferenceConfig) -> Iterator[str]:
    """Compare every shape with the config; ``None`` stands for a size that the config doesn't fix."""
    bev = (config.bev_h * config.bev_w, 1, config.embed_dims)
    img = runtime.inputs[INPUT_IMG].shape
    layers = next(iter(runtime.outputs[OUTPUT_CLASSES].shape), None)
    expected: Mapping[str, tuple[int | None, ...]] = {
        INPUT_IMG: (1, None, 3, None, None),
        INPUT_CAN_BUS: (1, CAN_BUS_SIZE),
        INPUT_LIDAR2IMG: (1, img[1] if len(img) > 1 else None, 4, 4),
        INPUT_PREV_BEV: bev,
        OUTPUT_BEV_EMBED: bev,
        OUTPUT_CLASSES: (layers, 1, config.num_query, config.num_classes),
        OUTPUT_COORDS: (layers, 1, config.num_query, CODE_SIZE),
    }
    specs: Mapping[str, TensorSpec] = {**runtime.inputs, **runtime.outputs}
    for name, shape in expected.items():
        found = specs[name].shape
        fits = len(found) == len(shape) and all(w in (None, g) for w, g in zip(shape, found, strict=True))
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            yield f"its {name} is {found}, the config makes it ({wanted})"
