"""The vendor's ``quantization_data`` folders: names, indexes, reading back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import CalibrationError
from bevformer_lib.names import INPUT_NAMES
from bevformer_lib.scenes.index import require_folder_name
from bevformer_lib.strict_json import read_json_object
from bevformer_lib.strict_npy import read_npy

GLOBAL_INDEX: Final = "global_index.json"
SCENE_INDEX: Final = "scene_index.json"
EXTRACTION_RECORD: Final = "extraction.json"
"""Not part of the vendor's format: which model and config the folder was made with."""
SCENE_ORIGIN: Final = "origin.json"
"""Not part of the vendor's format: which scene a scene's folder was made from, and its own numbers of the frames."""


@dataclass(frozen=True)
class QuantizationData:
    """A folder of extracted network inputs.

    Attributes:
        frame_indices: the numbers in the file names of every scene, in time order.
        frame_numbers: the frames' own numbers in the scenes they come from, where that was recorded.
        model_sha256: the model that made the prev_bev states, or ``None`` where that was not recorded.
    """

    folder: Path
    frame_indices: Mapping[str, tuple[int, ...]]
    frame_numbers: Mapping[str, tuple[int, ...]]
    model_sha256: str | None

    def load(self, scene: str, position: int) -> dict[str, NDArray[np.float32]]:
        """Read the network inputs of the frame at ``position`` of ``scene``.

        Raises:
            CalibrationError: a file is missing or is no array.
        """
        index = self.frame_indices[scene][position]
        arrays = {}
        for name in INPUT_NAMES:
            path = tensor_path(self.folder / scene, index, name)
            try:
                arrays[name] = read_npy(path)
            except ValueError as error:
                raise CalibrationError(f"{path}: {error}; extract the scene again") from error
        return arrays


def tensor_path(scene_folder: Path, number: int, name: str) -> Path:
    """Return the file of a network input; frames are numbered by their place in the scene."""
    return scene_folder / f"frame_{number:04d}_{name}.npy"


def meta_path(scene_folder: Path, number: int) -> Path:
    """Return the copy of a frame's meta file."""
    return scene_folder / f"frame_{number:04d}_meta.json"


def read_quantization_data(folder: Path) -> QuantizationData:
    """Read the indexes of a ``quantization_data`` folder.

    Raises:
        CalibrationError: an index is missing or is not what the format says.
    """
    listed = _field(folder / GLOBAL_INDEX, "scenes", list)
    frame_indices: dict[str, tuple[int, ...]] = {}
    frame_numbers: dict[str, tuple[int, ...]] = {}
    for entry in listed:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise CalibrationError(f"{folder / GLOBAL_INDEX}: 'scenes' needs a 'name' in every entry")
        name = entry["name"]
        try:
            require_folder_name(name)
        except ValueError as error:
            raise CalibrationError(f"{folder / GLOBAL_INDEX}: {error}") from None
        scene_index = folder / name / SCENE_INDEX
        indices = _field(scene_index, "frame_indices", list)
        if not indices or not all(type(index) is int and index >= 0 for index in indices):
            raise CalibrationError(f"{scene_index}: 'frame_indices' must list at least one frame number")
        frame_indices[name] = tuple(indices)
        origin = folder / name / SCENE_ORIGIN
        numbers = _field(origin, "frames", list) if origin.is_file() else indices
        if len(numbers) != len(indices):
            raise CalibrationError(f"{origin}: {len(numbers)} frames, {scene_index} lists {len(indices)}")
        frame_numbers[name] = tuple(numbers)
    if not frame_indices:
        raise CalibrationError(f"{folder / GLOBAL_INDEX}: it lists no scenes; extract some first")
    record = folder / EXTRACTION_RECORD
    model_sha256 = _field(record, "model_sha256", str) if record.is_file() else None
    return QuantizationData(folder, frame_indices, frame_numbers, model_sha256)


def read_index(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CalibrationError: the file can't be read, or holds something else.
    """
    try:
        return read_json_object(path)
    except ValueError as error:
        raise CalibrationError(f"{path}: {error}; it is written by 'bevformer extract-quantization-data'") from error


def _field(path: Path, key: str, kind: type) -> Any:
    content = read_index(path)
    if not isinstance(content.get(key), kind):
        raise CalibrationError(f"{path}: '{key}' is missing or is not a {kind.__name__}")
    return content[key]
