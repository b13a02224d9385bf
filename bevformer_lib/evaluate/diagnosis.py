"""Why a compiled model is worse: cheap checks on one frame that tell usual causes apart.

A change is made to a frame's inputs, and the candidate's ``bev_embed`` has to respond as the float model's does. The
response is projected onto the float model's, so that the noise of 8 bits, which is uncorrelated with it, disturbs
little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.evaluate.finding import Finding
from bevformer_lib.evaluate.image_faults import image_faults
from bevformer_lib.evaluate.responses import Array, Responses, frame_feed, norm
from bevformer_lib.names import (
    CAN_BUS_POSITION,
    CAN_BUS_YAW_DEG,
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_PREV_BEV,
    OUTPUT_BEV_EMBED,
)
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import HostPreparation
from bevformer_lib.runtime.recorded import UnrecordedError
from bevformer_lib.scenes.types import FrameInputs

EGO_MOTION: Final = "ego_motion"
PREV_BEV: Final = "prev_bev"
LIDAR2IMG: Final = "lidar2img"
LOST: Final = "cameras_lost"
CAMERAS: Final = "cameras_misplaced"
NORMALIZATION: Final = "normalization_wrong"
CALIBRATION: Final = "calibration_foreign"
DIAGNOSES: Final = (EGO_MOTION, PREV_BEV, LIDAR2IMG, LOST, CAMERAS, NORMALIZATION, CALIBRATION)

MIN_EFFECT: Final = 1e-3
"""Relative change of the float model's ``bev_embed`` below which a check has no result."""
_WORDS: Final = {EGO_MOTION: "ego motion", PREV_BEV: "prev_bev", LIDAR2IMG: "the camera calibration"}
_LIFT_M: Final = 0.5
"""By how much the BEV is lifted to see whether the camera calibration arrives: far enough to move what is seen, and too
little for other cameras to see a cell."""


@dataclass(frozen=True)
class Diagnosis:
    """Results of all checks.

    Attributes:
        findings: by name, those of :data:`DIAGNOSES`.
        scene: where the frame is from; empty where there was none.
        frame: its number in its file names; ``None`` where there was none.
    """

    findings: Mapping[str, Finding]
    scene: str = ""
    frame: int | None = None


def try_frame(
    previous: FrameInputs,
    inputs: FrameInputs,
    *,
    reference: Runtime,
    candidate: Runtime,
    img_norm: ImageNormConfig,
    on_progress: ProgressCallback = no_progress,
) -> dict[str, Finding]:
    """Run the checks on a frame, with the prev_bev state that the float model has after the frame before.

    Args:
        previous: the frame before; it is taken for a scene's first.
        inputs: the frame; the car should move.
        reference: the float model.
        candidate: the compiled one.
        img_norm: how ``img`` is normalised.
        on_progress: told the checks done.

    Returns:
        All findings but that about the calibration set.
    """
    zeros = np.zeros(reference.inputs[INPUT_PREV_BEV].shape, dtype=np.float32)
    first = frame_feed(previous, zeros)
    preparation = HostPreparation(img_norm)
    prev_bev = np.asarray(reference.run(preparation.feed(first, reference.inputs))[OUTPUT_BEV_EMBED], dtype=np.float32)
    responses = Responses(frame_feed(inputs, prev_bev), reference, candidate, preparation)
    images = image_faults(responses, inputs.img, img_norm)
    on_progress("diagnosis", 1, 2)
    seen = {} if images.seen is None else {INPUT_IMG: images.seen}
    changes = {
        EGO_MOTION: {INPUT_CAN_BUS: _standing(inputs.can_bus)},
        PREV_BEV: {INPUT_PREV_BEV: zeros},
        LIDAR2IMG: {INPUT_LIDAR2IMG: _lifted(inputs.lidar2img)},
    }
    found = {LOST: images.lost, CAMERAS: images.misplaced, NORMALIZATION: images.normalization}
    for name, change in changes.items():
        # Where the candidate is known to see other images, the reference sees them here too: one fault is one cause.
        try:
            found[name] = _relative_response(*responses.answers(change, seen), responses.norm, _WORDS[name])
        except UnrecordedError:
            found[name] = Finding(None, f"{_WORDS[name]} can't be told from the fault of the images on this machine")
    on_progress("diagnosis", 2, 2)
    return found


def _standing(can_bus: Array) -> Array:
    standing = can_bus.copy()
    standing[:, CAN_BUS_POSITION] = standing[:, CAN_BUS_YAW_DEG] = 0.0
    return standing


def _lifted(lidar2img: Array) -> Array:
    lift = np.eye(4, dtype=np.float32)
    lift[2, 3] = _LIFT_M
    return np.asarray(lidar2img @ lift)


def _relative_response(expected: NDArray[np.float64], given: NDArray[np.float64], length: float, what: str) -> Finding:
    """Return the slope of the candidate's answer over the reference's (least squares)."""
    if norm(expected) < MIN_EFFECT * length:
        return Finding(None, f"{what} has no effect on the float model in this frame")
    share = float(np.vdot(given, expected) / np.vdot(expected, expected))
    return Finding(share, f"the compiled model answers to {what} with {share:.0%} of the float model's answer")
