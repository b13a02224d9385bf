from __future__ import annotations

import json
from pathlib import Path

import pytest

from bevformer_lib.scenes.index import SceneEntry, find_scenes


def write_index(root: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (root / "scene_index.json").write_text(text)
    return root


def test_the_index_gives_order_and_frames(tmp_path: Path):
    write_index(tmp_path, {"scenes": {"b": {"samples": [5, 3, 9]}, "a": {"samples": [0]}}})
    assert find_scenes(tmp_path) == ((SceneEntry("b", (5, 3, 9)), SceneEntry("a", (0,))), [])


def test_without_an_index_folders_are_listed_in_order(tmp_path: Path):
    for name in ("scene-0002", "scene-0001", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "notes.txt").touch()
    assert find_scenes(tmp_path) == ((SceneEntry("scene-0001", None), SceneEntry("scene-0002", None)), [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must hold a JSON object, not list"),
        ('{"scenes": {"a": {"samples": [0]}, "a": {"samples": [1]}}}', "holds the key 'a' twice"),
        ({"scenes": []}, 'must hold {"scenes": {"<scene>": {"samples"'),
        ({"scenes": {}}, 'must hold {"scenes": {"<scene>": {"samples"'),
        ({"scenes": {"../a": {"samples": [0]}}}, "scene '../a' is not a plain folder name"),
        ({"scenes": {"a\\b": {"samples": [0]}}}, "is not a plain folder name"),
        ({"scenes": {"..": {"samples": [0]}}}, "scene '..' is not a plain folder name"),
        ({"scenes": {"a": [0]}}, "scene 'a' lacks its list of frame numbers, `samples`"),
        ({"scenes": {"a": {"samples": []}}}, "scene 'a' lacks its list of frame numbers, `samples`"),
        ({"scenes": {"a": {"samples": [0, "1"]}}}, "scene 'a': '1' is not a frame number"),
        ({"scenes": {"a": {"samples": [0, -1]}}}, "scene 'a': -1 is not a frame number"),
        ({"scenes": {"a": {"samples": [True]}}}, "scene 'a': True is not a frame number"),
        ({"scenes": {"a": {"samples": [4, 2, 4, 2]}}}, "scene 'a' lists frames more than once: 2, 4"),
    ],
)
def test_malformed_indexes_are_refused_with_the_file(tmp_path: Path, content: object, message: str):
    write_index(tmp_path, content)
    entries, (defect,) = find_scenes(tmp_path)
    assert entries == ()
    assert defect.startswith(f"{tmp_path / 'scene_index.json'}: ")
    assert message in defect


def test_every_bad_scene_of_an_index_is_reported(tmp_path: Path):
    write_index(tmp_path, {"scenes": {"a": {}, "good": {"samples": [0]}, "b/c": {"samples": [0]}}})
    entries, defects = find_scenes(tmp_path)
    assert [entry.name for entry in entries] == ["good"]
    assert len(defects) == 2


def test_missing_and_empty_folders(tmp_path: Path):
    assert find_scenes(tmp_path / "nowhere") == ((), [f"{tmp_path / 'nowhere'}: does not exist"])
    assert find_scenes(tmp_path) == ((), [f"{tmp_path}: holds neither scene_index.json nor a folder per scene"])


def test_an_index_of_more_frames_than_any_drive_has(tmp_path: Path) -> None:
    (tmp_path / "scene_index.json").write_text(json.dumps({"scenes": {"a": {"samples": list(range(100_001))}}}))
    entries, [defect] = find_scenes(tmp_path)
    assert entries == () and "lists 100,001 frames" in defect
