"""The temporal loop: every frame is fed the BEV that the model made of the frame before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.camera_capacity import CameraCapacity
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.geometry.capacity import CapacityCheck
from bevformer_lib.names import (
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_NAMES,
    INPUT_PREV_BEV,
    OUTPUT_BEV_EMBED,
    OUTPUT_NAMES,
)
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.camera_calibration import camera_capacity_of
from bevformer_lib.runtime.host import HostPreparation
from bevformer_lib.runtime.host_geometry import HostGeometryRuntime, with_host_geometry
from bevformer_lib.scenes.types import FrameInputs


@dataclass(frozen=True)
class StepResult:
    """What one frame gave.

    Attributes:
        prev_bev: the state, (bev_h * bev_w, 1, embed_dims) float32, before the host rotates it where a model needs
            that; zeros for a first frame.
        outputs: all outputs by name, float32.
        seconds: time inside the runtime.
    """

    prev_bev: NDArray[np.float32]
    outputs: Mapping[str, NDArray[np.float32]]
    seconds: float


class TemporalSession:
    """Runs a model frame by frame and feeds its ``bev_embed`` back as ``prev_bev``.

    Frames are checked against the model once, on the first step: those of one session come from one
    preprocessor. Where the model samples a limited number of cameras per BEV cell, every frame's cameras are checked to
    fit.
    """

    def __init__(
        self,
        runtime: Runtime,
        preparation: HostPreparation | None = None,
        *,
        stated_capacity: CameraCapacity | None = None,
        stated_geometry: HostGeometryConfig | None = None,
    ) -> None:
        """Bind a model.

        Args:
            runtime: the loaded model.
            preparation: what the host does before; ``None``: nothing but a change of float types.
            stated_capacity: the inference config's ``camera_capacity``, for models that carry no metadata.
            stated_geometry: the inference config's ``host_geometry``, likewise.

        Raises:
            RuntimeUnavailableError: the model lacks an input or output of a BEVFormer graph, has another, or
                its ``bev_embed`` can't be fed back as ``prev_bev``.
            CameraCalibrationError: the camera capacity of the model or ``stated_capacity`` is damaged, or
                another model's.
        """
        runtime = with_host_geometry(runtime, stated_geometry)
        _check_names("input", INPUT_NAMES, runtime.inputs)
        _check_names("output", OUTPUT_NAMES, runtime.outputs)
        fed_back, prev_bev = runtime.outputs[OUTPUT_BEV_EMBED], runtime.inputs[INPUT_PREV_BEV]
        if fed_back.shape != prev_bev.shape:
            raise RuntimeUnavailableError(
                f"the model's {OUTPUT_BEV_EMBED} is {fed_back.shape} and its {INPUT_PREV_BEV} "
                f"{prev_bev.shape}: it can't be fed back; export the model again"
            )
        self._runtime = runtime
        self._preparation = preparation or HostPreparation()
        self._prev_bev: NDArray[np.float32] | None = None
        self._checked = False
        capacity = camera_capacity_of(runtime, stated_capacity)
        self._capacity_check = None if capacity is None else CapacityCheck(capacity)

    def prepare(self, inputs: FrameInputs) -> FrameInputs:
        """Do what a frame needs before :meth:`step` and that no other frame decides; several threads may do so.

        The frame is checked against the model, its images are brought into the model's type, and what the host
        computes of its cameras is computed; :meth:`step` then finds all that done.

        Raises:
            RuntimeUnavailableError: the shapes are not the model's, or it takes integers of unknown meaning.
            CameraCalibrationError: the frame's cameras exceed the model's camera capacity.
        """
        self._check_shapes({INPUT_IMG: inputs.img, INPUT_CAN_BUS: inputs.can_bus, INPUT_LIDAR2IMG: inputs.lidar2img})
        if self._capacity_check is not None:
            self._capacity_check.require(inputs.lidar2img[0], frame=inputs.source)
        if isinstance(self._runtime, HostGeometryRuntime):
            self._runtime.prepare_cameras(inputs.lidar2img)
        return replace(inputs, img=self._preparation.cast(inputs.img, self._runtime.inputs[INPUT_IMG]))

    def step(self, inputs: FrameInputs, *, first: bool) -> StepResult:
        """Run one frame.

        Args:
            inputs: the frame's own inputs, as they are or prepared.
            first: whether it begins a scene: there is no state yet, and zeros are fed.

        Raises:
            RuntimeUnavailableError: the shapes are not the model's, it takes integers of unknown meaning, or the
                session's first frame has no prev_bev state and is not marked as a scene's first.
            CameraCalibrationError: the frame's cameras exceed the model's camera capacity.
        """
        prev_bev = self._zero_state() if first else self._prev_bev
        if prev_bev is None:
            raise RuntimeUnavailableError("the first frame of a session has no prev_bev state; pass first=True")
        feed = self._feed(inputs, prev_bev)
        if self._capacity_check is not None:
            self._capacity_check.require(inputs.lidar2img[0], frame=inputs.source)
        started = time.perf_counter()
        raw = self._runtime.run(feed)
        ended = time.perf_counter()
        outputs = {name: raw[name].astype(np.float32, copy=False) for name in OUTPUT_NAMES}
        self._prev_bev = outputs[OUTPUT_BEV_EMBED]
        return StepResult(prev_bev=prev_bev, outputs=outputs, seconds=ended - started)

    @property
    def prev_bev(self) -> NDArray[np.float32]:
        """What the next frame of this scene would be fed as ``prev_bev``; zeros before the first step."""
        return self._zero_state() if self._prev_bev is None else self._prev_bev

    def forget(self) -> None:
        """Drop the state: the next frame has to be a first one."""
        self._prev_bev = None

    def _zero_state(self) -> NDArray[np.float32]:
        return np.zeros(self._runtime.inputs[INPUT_PREV_BEV].shape, dtype=np.float32)

    def _feed(self, inputs: FrameInputs, prev_bev: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Name the arrays and turn them into what the model asks for."""
        arrays: dict[str, NDArray[Any]] = {
            INPUT_IMG: inputs.img,
            INPUT_CAN_BUS: inputs.can_bus,
            INPUT_LIDAR2IMG: inputs.lidar2img,
            INPUT_PREV_BEV: prev_bev,
        }
        if not self._checked:
            self._check_shapes(arrays)
            self._checked = True
        return self._preparation.feed(arrays, self._runtime.inputs)

    def _check_shapes(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        wrong = [
            f"{name} is {array.shape}, the model takes {self._runtime.inputs[name].shape}"
            for name, array in arrays.items()
            if array.shape != self._runtime.inputs[name].shape
        ]
        if wrong:
            raise RuntimeUnavailableError(
                f"the frames don't fit the model: {'; '.join(wrong)}; check the number of cameras and the "
                "image size against the exported model"
            )


def require_finite(outputs: Mapping[str, NDArray[np.float32]], frame: str) -> None:
    """Check that a model computed numbers.

    Raises:
        RuntimeUnavailableError: an output holds NaN or infinity.
    """
    for name, values in outputs.items():
        wrong = values.size - int(np.isfinite(values).sum())
        if wrong:
            raise RuntimeUnavailableError(
                f"{frame}: {wrong} of {values.size} values of the model's {name} are NaN or infinite; a weight or a "
                "range of the model is damaged, or its 16-bit layers overflow: export or compile it again"
            )


def _check_names(kind: str, expected: tuple[str, ...], found: Mapping[str, object]) -> None:
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        raise RuntimeUnavailableError(
            f"this is not a BEVFormer model: its {kind}s are {', '.join(found)}, expected {', '.join(expected)}"
        )
