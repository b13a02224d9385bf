"""Why a compiled model is worse: cheap checks on one frame that tell usual causes apart.

A change is made to a frame's inputs, and the candidate's ``bev_embed`` has to respond as the float model's does. The
response is projected onto the float model's, so that the noise of 8 bits, which is
uncorrelated with it, disturbs little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.names import (
    CAMERA_ORDER,
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
CAMERAS: Final = "cameras_misplaced"
NORMALIZATION: Final = "normalization_wrong"
CALIBRATION: Final = "calibration_foreign"
DIAGNOSES: Final = (EGO_MOTION, PREV_BEV, CAMERAS, NORMALIZATION, CALIBRATION)

MIN_EFFECT: Final = 1e-3
"""Relative change of the float model's ``bev_embed`` below which a check has no result."""
SUSPICIOUS_ERROR: Final = 0.1
"""Relative error of ``bev_embed`` from which on causes in the images are looked for: no wrong image gives less."""
_WORDS: Final = {EGO_MOTION: "ego motion", PREV_BEV: "prev_bev"}
_SIMILAR: Final = 0.5
"""Cosine from which on two answers are the same one."""
_CLEARLY_LESS: Final = 0.75
"""Of the error that is to be explained: an explanation has to leave less than this share."""

_Array = NDArray[np.float32]
_CAFFE: Final = ImageNormConfig(mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), to_rgb=False)
_IMAGENET: Final = ImageNormConfig(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), to_rgb=True)


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        value: for ``ego_motion`` and ``prev_bev`` the candidate's answer as a share of the float model's (1: the same,
            0: none); for the others the number of things that are wrong. ``None``: no result.
        note: what was found, or why nothing was.
    """

    value: float | None
    note: str = ""


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

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Diagnosis:
        """Return what :meth:`to_dict` was called on."""
        findings = {name: Finding(**fields) for name, fields in content["findings"].items()}
        return cls(findings, content["scene"], content["frame"])


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
    first = _feed(previous, zeros)
    prev_bev = np.asarray(reference.run(first)[OUTPUT_BEV_EMBED], dtype=np.float32)
    responses = _Responses(_feed(inputs, prev_bev), reference, candidate, HostPreparation(img_norm))
    found, seen = _images(responses, inputs.img, img_norm)
    on_progress("diagnosis", 1, 2)
    standing = inputs.can_bus.copy()
    standing[:, CAN_BUS_POSITION] = standing[:, CAN_BUS_YAW_DEG] = 0.0
    changes = {EGO_MOTION: {INPUT_CAN_BUS: standing}, PREV_BEV: {INPUT_PREV_BEV: zeros}}
    for name, change in changes.items():
        # Where the candidate is known to see other images, the reference sees them here too: one fault is one cause.
        try:
            found[name] = _relative_response(*responses.answers(change, seen), responses.norm, _WORDS[name])
        except UnrecordedError:
            found[name] = Finding(None, f"{_WORDS[name]} can't be told from the fault of the images on this machine")
    on_progress("diagnosis", 2, 2)
    return found


class _Responses:
    """Both models' ``bev_embed`` of a frame, and how it responds to changed inputs."""

    def __init__(
        self, feed: Mapping[str, _Array], reference: Runtime, candidate: Runtime, preparation: HostPreparation
    ) -> None:
        self._feed = feed
        self._models = reference, candidate
        self._preparation = preparation
        self.reference, self.candidate = (self._run(model, {}) for model in self._models)
        self.norm = _norm(self.reference)

    def answers(
        self, change: Mapping[str, _Array], seen: Mapping[str, _Array] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return by how much ``bev_embed`` of the reference and of the candidate changes.

        Args:
            change: inputs that are changed for both.
            seen: inputs that the reference is given instead of the frame's, with and without the change.
        """
        reference, candidate = self._models
        unchanged = self._run(reference, seen) if seen else self.reference
        expected = self._run(reference, {**(seen or {}), **change}) - unchanged
        return expected, self._run(candidate, change) - self.candidate

    def expected(self, change: Mapping[str, _Array]) -> NDArray[np.float64]:
        """Return the reference's ``bev_embed`` of the changed frame."""
        return self._run(self._models[0], change)

    def _run(self, model: Runtime, change: Mapping[str, _Array]) -> NDArray[np.float64]:
        feed = self._preparation.feed({**self._feed, **change}, model.inputs)
        return np.asarray(model.run(feed)[OUTPUT_BEV_EMBED], dtype=np.float64).ravel()


def _feed(inputs: FrameInputs, prev_bev: _Array) -> dict[str, _Array]:
    return {
        INPUT_IMG: inputs.img,
        INPUT_CAN_BUS: inputs.can_bus,
        INPUT_LIDAR2IMG: inputs.lidar2img,
        INPUT_PREV_BEV: prev_bev,
    }


def _relative_response(expected: NDArray[np.float64], given: NDArray[np.float64], norm: float, what: str) -> Finding:
    """Return the slope of the candidate's answer over the reference's (least squares)."""
    if _norm(expected) < MIN_EFFECT * norm:
        return Finding(None, f"{what} has no effect on the float model in this frame")
    share = float(given @ expected / (expected @ expected))
    return Finding(share, f"the compiled model answers to {what} with {share:.0%} of the float model's answer")


def _images(
    responses: _Responses, img: _Array, img_norm: ImageNormConfig
) -> tuple[dict[str, Finding], dict[str, _Array]]:
    """Look for faults of the images; return what was found, and what the candidate sees instead of the frame's."""
    error = _norm(responses.candidate - responses.reference) / responses.norm if responses.norm else 0.0
    if error < SUSPICIOUS_ERROR:
        clean = Finding(0.0, f"bev_embed of the frame is off by {error:.1%} only")
        return {CAMERAS: clean, NORMALIZATION: clean}, {}
    cameras, order = _cameras(responses, img)
    normalization, image = _normalization(responses, img, img_norm, error)
    seen = {}
    if normalization.value:
        seen[INPUT_IMG] = image
    elif cameras.value:
        seen[INPUT_IMG] = np.ascontiguousarray(img[:, order])
    return {CAMERAS: cameras, NORMALIZATION: normalization}, seen


def _cameras(responses: _Responses, img: _Array) -> tuple[Finding, list[int]]:
    """Blank one camera after the other; the candidate has to miss what the reference misses.

    Returns:
        The finding, and for every place of a camera the one whose images the candidate sees there.
    """
    answers = [responses.answers({INPUT_IMG: _without(img, camera)}) for camera in range(img.shape[1])]
    expected, given = (np.stack(side) for side in zip(*answers, strict=True))
    lengths = np.linalg.norm(given, axis=1)[:, None] * np.linalg.norm(expected, axis=1)[None, :]
    alike = np.divide(given @ expected.T, lengths, out=np.zeros_like(lengths), where=lengths > 0.0)
    order, wrong = list(range(img.shape[1])), []
    for camera, place in enumerate(alike.argmax(axis=1).tolist()):
        if place != camera and alike[camera, place] > _SIMILAR > alike[camera, camera]:
            order[place] = camera
            wrong.append(f"{_camera(camera)} is taken for {_camera(place)}")
    return Finding(float(len(wrong)), "; ".join(wrong) or "every camera is in its place"), order


def _without(img: _Array, camera: int) -> _Array:
    blanked = img.copy()
    blanked[:, camera] = 0.0
    return blanked


def _camera(number: int) -> str:
    return CAMERA_ORDER[number] if number < len(CAMERA_ORDER) else f"camera {number}"


def _normalization(
    responses: _Responses, img: _Array, img_norm: ImageNormConfig, error: float
) -> tuple[Finding, _Array]:
    """Feed the reference images that are normalised wrongly; none of them may explain the candidate.

    Returns:
        The finding, and the images that explain the candidate best.
    """
    low, high = float(img.min()), float(img.max())
    best, name, explained = np.inf, "", img
    for mistake, wrong in _mistakes(img, img_norm).items():
        # A model whose 8 bits were chosen for rightly normalised images cuts off what lies beyond.
        for image in (wrong, np.clip(wrong, low, high)):
            fed = np.ascontiguousarray(image, dtype=np.float32)
            expected = responses.expected({INPUT_IMG: fed})
            norm = _norm(expected)
            left = _norm(responses.candidate - expected) / norm if norm else np.inf
            if left < best:
                best, name, explained = left, mistake, fed
    if best < _CLEARLY_LESS * error:
        words = f"it is off by {best:.1%} from a float model that does too, by {error:.1%} from one that does not"
        return Finding(1.0, f"the compiled model sees images {name}: {words}"), explained
    return Finding(0.0, "no usual mistake explains the error"), explained


def _mistakes(img: _Array, img_norm: ImageNormConfig) -> dict[str, _Array]:
    """Return the images as usual mistakes make them."""
    mean, std = _per_channel(img_norm.mean), _per_channel(img_norm.std)
    pixels = img * std + mean
    swapped = pixels[:, :, ::-1]
    mistakes = {
        "with red and blue exchanged": (swapped - mean) / std,
        "without normalisation, as 0 to 255": pixels,
        "as 0 to 1": pixels / 255.0,
        "without the mean subtracted": pixels / std,
        "without the division by std": pixels - mean,
        "normalised twice": (img - mean) / std,
    }
    for name, other in (("ImageNet's RGB", _IMAGENET), ("caffe's BGR", _CAFFE)):
        if other != img_norm:
            same_order = other.to_rgb == img_norm.to_rgb
            ordered = pixels if same_order else swapped
            mistakes[f"normalised by {name} mean and std"] = (ordered - _per_channel(other.mean)) / _per_channel(
                other.std
            )
    return mistakes


def _per_channel(values: Sequence[float]) -> _Array:
    return np.array(values, dtype=np.float32).reshape(1, 1, -1, 1, 1)


def _norm(values: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(values))
