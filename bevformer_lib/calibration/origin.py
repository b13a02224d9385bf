"""Whether a calibration set is what it should be: made with this model, from these scenes, fed as the model is fed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.calibration.pack import MANIFEST_NAME
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import CalibrationError
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_PREV_BEV
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.types import FrameInputs, Scene
from bevformer_lib.strict_json import read_json

_AFFINE_RESIDUAL: Final = 1e-3
"""Share of an image's spread that a change of mean and std leaves."""


def listed_samples(folder: Path) -> list[dict[str, Any]]:
    """Return what a set's manifest says of its samples, in order: number, scene, frame, position.

    Raises:
        CalibrationError: there is no manifest, or it is damaged.
    """
    samples: list[dict[str, Any]] = _manifest(folder)["samples"]
    return samples


def foreign_samples(
    folder: Path,
    scenes: Mapping[str, Scene],
    preprocessor: Preprocessor,
    *,
    model_sha256: str,
    compared: int,
    host_geometry: HostGeometryConfig | None = None,
) -> list[str]:
    """Return, as sentences, what in a calibration set is not of this model and these scenes.

    Args:
        folder: the archives and the manifest.
        scenes: by name: all that the set may be made from; those of the first ``compared`` samples with images.
        preprocessor: of the model.
        model_sha256: the float model that should have made the histories.
        compared: samples, from the first on, whose arrays are computed again and compared.
        host_geometry: of the model that the set is for; ``None``: it computes its geometry itself.

    Raises:
        CalibrationError: the set is broken.
        SceneError: an image can't be read.
    """
    manifest = _manifest(folder)
    found = []
    if manifest["model_sha256"] not in (None, model_sha256):
        found.append(f"its histories were made with another model ({manifest['model_sha256'][:12]})")
    strangers = sorted({sample["scene"] for sample in manifest["samples"]} - set(scenes))
    if strangers:
        return [*found, f"it holds frames of scenes that are not of this build, such as {strangers[0]}"]
    geometry = None if host_geometry is None else HostGeometry(host_geometry)
    pairs = zip(manifest["samples"], read_calibration(folder), strict=True)
    for sample, arrays in itertools.islice(pairs, compared):
        frames = scenes[sample["scene"]].frames
        position = sample["position"]
        previous = frames[position - 1] if position else None
        expected = preprocessor.inputs(frames[position], previous)
        where = f"sample {sample['number']} ({sample['scene']}, frame {sample['frame']})"
        found += [f"{where}: {difference}" for difference in _differences(arrays, expected, geometry)]
    return found


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_NAME
    try:
        content: dict[str, Any] = read_json(path)
        if not isinstance(content["samples"], list):
            raise KeyError("samples")
        content.setdefault("model_sha256", None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibrationError(f"{path}: can't be read ({error}); make the set again") from error
    return content


def _differences(
    arrays: Mapping[str, NDArray[Any]], expected: FrameInputs, geometry: HostGeometry | None
) -> Iterator[str]:
    wanted_arrays = {INPUT_CAN_BUS: expected.can_bus, INPUT_LIDAR2IMG: expected.lidar2img}
    if geometry is not None:
        frame = {INPUT_IMG: expected.img, INPUT_PREV_BEV: arrays[INPUT_PREV_BEV], **wanted_arrays}
        computed = geometry.inputs(frame)
        wanted_arrays = {name: computed[name] for name in computed if name not in (INPUT_IMG, INPUT_PREV_BEV)}
    for name, wanted in wanted_arrays.items():
        if name not in arrays or not np.array_equal(arrays[name], wanted):
            yield f"{name} is not that of the frame"
    if not np.array_equal(arrays[INPUT_IMG], expected.img):
        yield _image_difference(arrays[INPUT_IMG], expected.img)


def _image_difference(given: NDArray[Any], expected: NDArray[np.float32]) -> str:
    """Say how the images differ from those of the frame."""
    if given.shape != expected.shape:
        return f"its images are {given.shape}, the frame's {expected.shape}"
    cameras = range(expected.shape[1])
    if all(any(np.array_equal(given[0, camera], expected[0, other]) for other in cameras) for camera in cameras):
        return "its cameras are in another order"
    if all(
        any(_affine(given[0, :, channel], expected[0, :, other]) for other in range(expected.shape[2]))
        for channel in range(expected.shape[2])
    ):
        return "its images are normalised otherwise"
    return "its images are not those of the frame"


def _affine(given: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Return whether one channel is the other with another mean and std."""
    x, y = expected.astype(np.float64).ravel(), given.astype(np.float64).ravel()
    spread = float(y.std())
    if spread == 0.0 or float(x.std()) == 0.0:
        return False
    slope, offset = np.polyfit(x, y, 1)
    return float(np.abs(y - slope * x - offset).max()) < _AFFINE_RESIDUAL * spread
