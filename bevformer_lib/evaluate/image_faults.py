"""What is wrong with the images that a compiled model sees: cameras lost, cameras in other places, normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.evaluate.finding import Finding
from bevformer_lib.evaluate.responses import Array, Responses
from bevformer_lib.names import CAMERA_ORDER, INPUT_IMG
from bevformer_lib.runtime.recorded import UnrecordedError

SUSPICIOUS_ERROR: Final = 0.05
"""Relative error of ``bev_embed`` from which on causes in the images are looked for: no wrong image gives less."""
_LOST: Final = 0.1
"""Response to a blanked camera, as a share of the float model's, below which the camera does not reach the model."""
_SIMILAR: Final = 0.5
"""Cosine of two responses' extents over the BEV from which on they are of one camera."""
_CLEARLY_LESS: Final = 0.75
"""Of the error that is to be explained: an explanation has to leave less than this share."""

_CAFFE: Final = ImageNormConfig(mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), to_rgb=False)
_IMAGENET: Final = ImageNormConfig(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), to_rgb=True)


@dataclass(frozen=True)
class ImageFindings:
    """What was found.

    Attributes:
        lost: cameras that do not reach the candidate.
        misplaced: cameras that it takes for another one.
        normalization: whether a usual mistake explains what it puts out.
        seen: the images that explain it best; ``None``: the frame's.
    """

    lost: Finding
    misplaced: Finding
    normalization: Finding
    seen: Array | None


def image_faults(responses: Responses, img: Array, img_norm: ImageNormConfig) -> ImageFindings:
    """Look for faults of the images, where the candidate's ``bev_embed`` is off by :data:`SUSPICIOUS_ERROR` or more."""
    if responses.error < SUSPICIOUS_ERROR:
        clean = Finding(0.0, f"bev_embed of the frame is off by {responses.error:.1%} only")
        return ImageFindings(clean, clean, clean, None)
    blanked = [responses.answers({INPUT_IMG: _without(img, camera)}) for camera in range(img.shape[1])]
    expected, given = (np.stack([_extent(side) for side in sides]) for sides in zip(*blanked, strict=True))
    lost, black = _lost(expected, given, img, img_norm)
    misplaced, exchanged = _misplaced(responses, img, expected, given)
    normalization, normalized = _normalization(responses, img, img_norm)
    explained = ((normalization, normalized), (misplaced, exchanged), (lost, black))
    seen = next((images for finding, images in explained if finding.value), None)
    return ImageFindings(lost, misplaced, normalization, seen)


def _extent(answer: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (cells,): how strongly each BEV cell responds. Where it does says which camera's place was blanked."""
    return np.asarray(np.linalg.norm(answer, axis=1))


def _without(img: Array, camera: int) -> Array:
    blanked = img.copy()
    blanked[:, camera] = 0.0
    return blanked


def _lost(
    expected: NDArray[np.float64], given: NDArray[np.float64], img: Array, img_norm: ImageNormConfig
) -> tuple[Finding, Array]:
    """Look which cameras the candidate does not miss when they are blanked, though the reference does.

    Returns:
        The finding, and the images with these cameras black.
    """
    needed, missed = np.linalg.norm(expected, axis=1), np.linalg.norm(given, axis=1)
    lost = np.flatnonzero(missed < _LOST * needed).tolist()
    black = img.copy()
    black[:, lost] = -_per_channel(img_norm.mean) / _per_channel(img_norm.std)
    words = "; ".join(f"{_camera(number)} does not reach the compiled model" for number in lost)
    return Finding(float(len(lost)), words or "every camera reaches the compiled model"), black


def _misplaced(
    responses: Responses, img: Array, expected: NDArray[np.float64], given: NDArray[np.float64]
) -> tuple[Finding, Array]:
    """Compare where the candidate responds to each blanked camera with where the reference does.

    Returns:
        The finding, and the images in the order in which the candidate sees them.
    """
    lengths = np.linalg.norm(given, axis=1)[:, None] * np.linalg.norm(expected, axis=1)[None, :]
    alike = np.divide(given @ expected.T, lengths, out=np.zeros_like(lengths), where=lengths > 0.0)
    order, wrong = list(range(img.shape[1])), []
    for camera, place in enumerate(alike.argmax(axis=1).tolist()):
        if place != camera and alike[camera, place] > _SIMILAR > alike[camera, camera]:
            order[place] = camera
            wrong.append(f"{_camera(camera)} is taken for {_camera(place)}")
    exchanged = np.ascontiguousarray(img[:, order])
    if wrong and not _explains(responses, exchanged):
        wrong = []
    return Finding(float(len(wrong)), "; ".join(wrong) or "every camera is in its place"), exchanged


def _explains(responses: Responses, images: Array) -> bool:
    """Return whether a reference that sees these images is clearly nearer to the candidate; true if none can be run."""
    try:
        return responses.left({INPUT_IMG: images}) < _CLEARLY_LESS * responses.error
    except UnrecordedError:
        return True


def _camera(number: int) -> str:
    return CAMERA_ORDER[number] if number < len(CAMERA_ORDER) else f"camera {number}"


def _normalization(responses: Responses, img: Array, img_norm: ImageNormConfig) -> tuple[Finding, Array]:
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
            left = responses.left({INPUT_IMG: fed})
            if left < best:
                best, name, explained = left, mistake, fed
    if best < _CLEARLY_LESS * responses.error:
        words = (
            f"it is off by {best:.1%} from a float model that does too, by {responses.error:.1%} from one that does not"
        )
        return Finding(1.0, f"the compiled model sees images {name}: {words}"), explained
    return Finding(0.0, "no usual mistake explains the error"), explained


def _mistakes(img: Array, img_norm: ImageNormConfig) -> dict[str, Array]:
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


def _per_channel(values: Sequence[float]) -> Array:
    return np.array(values, dtype=np.float32).reshape(1, 1, -1, 1, 1)
