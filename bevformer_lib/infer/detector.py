"""A model in a car's process: frames from memory in, boxes out.

    detector = Detector("model.axmodel", "inference_config.json")
    boxes = detector(images, lidar2img=lidar2img, ego_pose=ego_pose, timestamp_us=now_us)

`docs/infer.md` says what happens at resets, with frames that are dropped, and with frames that come late.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.backends.runtimes import AXENGINE, ONNXRUNTIME, open_runtime
from bevformer_lib.config.inference_config import InferenceConfig, read_inference_config
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import ConfigError, LateFrameError, RuntimeUnavailableError
from bevformer_lib.infer.given_frame import absolute_motion, camera_images, camera_projections
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.contract import check_model
from bevformer_lib.runtime.host import HostPreparation, HostRotation, fed_to
from bevformer_lib.runtime.temporal import StepResult, TemporalSession, require_finite
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.types import FrameInputs

LONGEST_GAP_S: Final = 1.5
"""From one frame to the next; the training on nuScenes had 0.5 s, and 1 s where it dropped one."""

_AXMODEL: Final = ".axmodel"
_MICROSECONDS: Final = 1e6

_log = logging.getLogger(__name__)


class Detector:
    """Finds the objects around a car, frame after frame; of one car, and for one thread at a time.

    Calling it is :meth:`prepare`, :meth:`run` and :meth:`decode` one after the other. Who wants the host's work hidden
    behind the model's calls these: `prepare` and `decode` of other frames may run in other threads beside `run`.

    Attributes:
        image_hw: padded image size (height, width) in pixels, as the model is fed.
        was_first: whether the last frame was run without history.
    """

    def __init__(
        self,
        model: str | Path | Runtime,
        config: str | Path | InferenceConfig,
        *,
        runtime: str | None = None,
        device: str | None = None,
        threads: int | None = None,
        npu: str | None = None,
        score_threshold: float | None = None,
        longest_gap_s: float = LONGEST_GAP_S,
        host_rotate_center: tuple[float, float] | None = None,
        frame_threads: int | None = None,
    ) -> None:
        """Load a model.

        Args:
            model: its file, or a runtime that holds it.
            config: its ``inference_config.json``, or what was read from it.
            runtime: what runs the file: ``onnxruntime``, ``axengine`` or ``pulsar2``; ``None``: axengine for an
                ``.axmodel``, else ONNX Runtime.
            device: where ONNX Runtime runs it.
            threads: threads inside an operator of ONNX Runtime.
            npu: which NPU AXEngine uses: ``board``, ``card`` or ``card:N``; ``None``: its own choice.
            score_threshold: boxes at or below are dropped; ``None``: the model's own threshold, if it has one.
            longest_gap_s: a frame that follows the last one after more seconds begins a new sequence.
            host_rotate_center: for models that leave the rotation of ``prev_bev`` to the host (the vendor's exported
                ones): x and y in cells that it turns about.
            frame_threads: threads that share the cameras of a frame; ``None``: one per processor. 1 is best where
                several frames are prepared at once.

        Raises:
            RuntimeUnavailableError: the model can't be run here.
            ConfigError: the config is damaged, or another model's, or a threshold has no sense.
            CameraCalibrationError: the camera capacity of the model or the config is damaged.
        """
        if score_threshold is not None:
            require_score(score_threshold)
        if not longest_gap_s > 0.0:
            raise ConfigError(f"longest_gap_s is {longest_gap_s}; give a time above 0")
        self.config = config if isinstance(config, InferenceConfig) else read_inference_config(Path(config))
        loaded: Runtime
        if isinstance(model, str | Path):
            model = Path(model)
            kind = runtime or (AXENGINE if model.suffix == _AXMODEL else ONNXRUNTIME)
            loaded = open_runtime(kind, model, device=device, threads=threads, npu=npu)
        else:
            loaded = model
        geometry = check_model(loaded, self.config, model if isinstance(model, Path) else Path("the model"))
        self.num_cams, self.image_hw = geometry.num_cams, geometry.image_hw
        preprocessor = fed_to(Preprocessor(self.image_hw, self.config.img_norm), loaded)
        self.preprocessor = preprocessor if frame_threads is None else replace(preprocessor, threads=frame_threads)
        bev_hw = self.config.bev_h, self.config.bev_w
        rotation = None if host_rotate_center is None else HostRotation(bev_hw, host_rotate_center)
        self._session = TemporalSession(
            loaded,
            HostPreparation(self.config.img_norm, rotation),
            stated_capacity=self.config.camera_capacity,
            stated_geometry=self.config.host_geometry,
        )
        self._score_threshold = score_threshold
        self._longest_gap_s = longest_gap_s
        self.was_first = False
        self._last_motion: NDArray[np.float64] | None = None
        self._last_timestamp_us: int | None = None

    def __call__(
        self,
        images: Sequence[NDArray[np.uint8] | None] | Mapping[str, NDArray[np.uint8] | None],
        *,
        lidar2img: NDArray[Any] | Sequence[Any],
        can_bus: NDArray[Any] | Sequence[float] | None = None,
        ego_pose: NDArray[Any] | Sequence[Any] | None = None,
        first: bool = False,
        timestamp_us: int | None = None,
    ) -> Detections:
        """Run a frame.

        Without ``first``, a frame goes on from the last one that was run, however many were dropped in between: its
        motion is taken since that one. It begins a new sequence where there is no last one, where ``timestamp_us``
        lies more than ``longest_gap_s`` after the last, and after a frame whose outputs were no numbers.

        Args:
            images: (h, w, 3) uint8 BGR per camera, in the order of ``names.CAMERA_ORDER`` or by its names. Each has
                the model's image size or less than 32 rows and columns fewer; nothing is resized. ``None`` stands for
                a camera that gave no image: the model is shown a black one.
            lidar2img: (cameras, 4, 4), LiDAR frame (m) to homogeneous pixels of these images.
            can_bus: (18,) as recorded, absolute form; this or ``ego_pose``.
            ego_pose: (4, 4) ego to global, metres, at the LiDAR's time. Without ``can_bus``, acceleration, rotation
                rate and velocity are zeros, as for nuScenes' scenes without CAN data.
            first: whether a new sequence begins: what was before is forgotten.
            timestamp_us: of the frame; from any start. Without it, nothing is known of gaps and late frames.

        Returns:
            Boxes in the LiDAR frame, best first.

        Raises:
            LateFrameError: the frame is not newer than the last one. The detector is as before; go on with the next.
            FrameError: something of the frame is missing or malformed. Likewise.
            CameraCalibrationError: its cameras exceed the model's camera capacity. Likewise.
            RuntimeUnavailableError: the model can't be run, or gave something that is no number; after the latter the
                next frame begins a new sequence.
        """
        given = camera_images(images, self.num_cams, self.image_hw)
        motion = absolute_motion(can_bus, ego_pose)
        first = self._begins(first=first, timestamp_us=timestamp_us)
        delta = can_bus_delta(motion, None if first else self._last_motion)
        inputs = self.prepare(given, lidar2img=camera_projections(lidar2img, self.num_cams), can_bus_delta=delta)
        step = self.run(inputs, first=first)
        self._last_motion, self._last_timestamp_us, self.was_first = motion, timestamp_us, first
        try:
            return self.decode(step, inputs.source)
        except RuntimeUnavailableError:
            self.reset()
            raise

    def reset(self) -> None:
        """Forget what was before: the next frame begins a new sequence."""
        self._session.forget()
        self._last_motion = self._last_timestamp_us = None

    def prepare(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        lidar2img: NDArray[np.float64],
        can_bus_delta: NDArray[np.float64],
        source: str = "the frame",
    ) -> FrameInputs:
        """Turn a frame into what the model is fed, but for its history; in any thread.

        Args:
            images: (h, w, 3) uint8 BGR per camera, stored order.
            lidar2img: (cameras, 4, 4), for these images.
            can_bus_delta: (18,), delta form: since the frame that will be run before.
            source: names the frame in errors.

        Raises:
            RuntimeUnavailableError: the frame doesn't fit the model.
            CameraCalibrationError: the frame's cameras exceed the model's camera capacity.
        """
        inputs = FrameInputs(
            img=self.preprocessor.tensor(images),
            can_bus=can_bus_delta[None].astype(np.float32),
            lidar2img=lidar2img[None].astype(np.float32),
            source=source,
        )
        return self._session.prepare(inputs)

    def run(self, inputs: FrameInputs, *, first: bool) -> StepResult:
        """Run a prepared frame; ``first``: without history.

        How the car moved up to it is its caller's to know: a call of the detector itself that follows begins anew.

        Raises:
            RuntimeUnavailableError: the model can't be run, or there is no history to go on from.
        """
        step = self._session.step(inputs, first=first)
        self._last_motion = self._last_timestamp_us = None
        return step

    def decode(
        self, step: StepResult, source: str = "the frame", *, score_threshold: float | None = None
    ) -> Detections:
        """Turn what a frame gave into boxes, best first; in any thread.

        Args:
            step: what :meth:`run` returned.
            source: names the frame in errors.
            score_threshold: boxes at or below are dropped; ``None``: the detector's own.

        Raises:
            RuntimeUnavailableError: an output holds NaN or infinity.
        """
        require_finite(step.outputs, source)
        threshold = self._score_threshold if score_threshold is None else score_threshold
        return decode_detections(step.outputs, self.config.box_coder, score_threshold=threshold)

    def _begins(self, *, first: bool, timestamp_us: int | None) -> bool:
        """Tell whether a frame begins a sequence."""
        if first or self._last_motion is None:
            return True
        if timestamp_us is None or self._last_timestamp_us is None:
            return False
        gap_s = (timestamp_us - self._last_timestamp_us) / _MICROSECONDS
        if gap_s <= 0.0:
            raise LateFrameError(
                f"the frame of {timestamp_us} us is not newer than the last one, of {self._last_timestamp_us} us; "
                "leave it out, or begin a new sequence with first=True"
            )
        if gap_s > self._longest_gap_s:
            _log.info("no frame for %.2f s: a new sequence begins", gap_s)
            return True
        return False


def require_score(threshold: float) -> None:
    """Raise :class:`ConfigError` where a score threshold is none."""
    if not 0.0 <= threshold <= 1.0:
        raise ConfigError(f"the score threshold is {threshold}; give a number from 0 to 1")
