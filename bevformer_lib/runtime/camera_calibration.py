"""Camera capacity of a loaded model, from its own metadata or its inference config."""

from __future__ import annotations

from typing import Final

from bevformer_lib.config.camera_capacity import CameraCapacity
from bevformer_lib.errors import CameraCalibrationError
from bevformer_lib.names import INPUT_IMG, INPUT_PREV_BEV
from bevformer_lib.runtime.base import Runtime

_OUR_METADATA: Final = "bevformer."
"""What every key begins with that our exporter writes; a graph with such keys says all that there is to say."""


def camera_capacity_of(
    runtime: Runtime, stated: CameraCapacity | None, *, source: str = "the model"
) -> CameraCapacity | None:
    """Return a model's camera capacity; ``None``: it samples every cell in every camera, or the capacity is not known.

    Args:
        runtime: the loaded model.
        stated: what the inference config says; taken where the model's format has lost what the exporter wrote.
        source: the model, for the message.

    Raises:
        CameraCalibrationError: the model's metadata is damaged, or the capacity is another model's.
    """
    capacity, said_by = CameraCapacity.from_metadata(runtime.metadata, source=source), "its metadata"
    if capacity is None and not any(key.startswith(_OUR_METADATA) for key in runtime.metadata):
        capacity, said_by = stated, "the inference config"
    if capacity is None:
        return None
    cells, image_hw = runtime.inputs[INPUT_PREV_BEV].shape[:1], runtime.inputs[INPUT_IMG].shape[-2:]
    grid = capacity.grid
    if cells != (grid.bev_h * grid.bev_w,) or image_hw != grid.image_hw:
        raise CameraCalibrationError(
            f"{source}: {said_by} gives the camera capacity of a model with {grid.bev_h} x {grid.bev_w} BEV cells and "
            f"images of {grid.image_hw[0]} x {grid.image_hw[1]}, but its {INPUT_PREV_BEV} is "
            f"{runtime.inputs[INPUT_PREV_BEV].shape} and its {INPUT_IMG} {runtime.inputs[INPUT_IMG].shape}; export it "
            "again, and extract the inference config with --onnx"
        )
    return capacity
