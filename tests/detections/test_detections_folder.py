"""Detections that no model gives are refused before anything is computed from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.detections.detections_folder import read_detections
from bevformer_lib.errors import BevformerError

BOX = {"class": "car", "score": 0.5, "box": [1.0, 2.0, 0.0, 2.0, 4.0, 1.5, 0.0, 0.0, 0.0]}


def read(folder: Path, *boxes: dict[str, Any], index: object = 0) -> None:
    frame = {"index": index, "sample_token": None, "boxes": list(boxes)}
    content = {"scene": "scene-0", "class_names": ["car"], "made_with": {}, "frames": [frame]}
    (folder / "scene-0").mkdir(exist_ok=True)
    (folder / "scene-0" / "detections.json").write_text(json.dumps(content))
    read_detections(folder)


def box(position: int, value: float) -> dict[str, Any]:
    changed = list(BOX["box"])  # type: ignore[call-overload]
    changed[position] = value
    return BOX | {"box": changed}


def test_what_models_give_is_read(tmp_path: Path) -> None:
    read(tmp_path, BOX)
    read(tmp_path)
    read(tmp_path, *[BOX] * 500)


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        ([box(0, float("nan"))], "NaN"),
        ([box(0, 1e300)], "a box holds NaN or infinity"),
        ([box(3, -1.0)], "width, length or height"),
        ([box(5, 0.0)], "width, length or height"),
        ([BOX | {"score": 1.5}], "a score is not in 0 to 1"),
        ([BOX | {"score": -0.1}], "a score is not in 0 to 1"),
        ([BOX | {"class": "tank"}], "not in"),
        ([BOX | {"box": [1.0]}], "is not what 'bevformer infer' writes"),
        ([BOX] * 10_001, "10,001 boxes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_model_gives(boxes: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(BevformerError, match=said):
        read(tmp_path, *boxes)


@pytest.mark.parametrize("index", [-1, 0.5, "0", True, None])
def test_frame_numbers(index: object, tmp_path: Path) -> None:
    with pytest.raises(BevformerError, match="is no frame number"):
        read(tmp_path, BOX, index=index)
