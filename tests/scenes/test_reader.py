from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from bevformer_lib.errors import SceneError
from bevformer_lib.scenes import reader
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from tests.support.data import requires_shared_data, shared_data
from tests.support.micro import micro_config
from tests.support.scenes import Spelling, write_scenes

REQUIREMENTS = SceneRequirements.of_model(micro_config())


def edit_meta(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def defects_of(root: Path) -> list[str]:
    with pytest.raises(SceneError) as raised:
        read_scenes(root, REQUIREMENTS)
    return list(raised.value.defects)


def test_scenes_come_in_order_with_their_frames(tmp_path: Path):
    root = write_scenes(tmp_path / "scénes with spaces", frame_numbers=(7, 9, 40))
    scenes = read_scenes(root, REQUIREMENTS)
    assert [scene.name for scene in scenes] == ["scene-0000", "scene-0001"]
    for scene in scenes:
        assert [frame.index for frame in scene.frames] == [7, 9, 40]
        for frame in scene.frames:
            assert frame.meta_path == root / scene.name / f"meta_{frame.index:06d}.json"
            assert [image.path.name for image in frame.images] == [
                f"cam_0{camera}_{frame.index:06d}.png" for camera in range(6)
            ]
            assert frame.gt_boxes is not None
            assert len(frame.gt_boxes) == 4


def test_a_folder_without_index_reads_the_same(tmp_path: Path):
    root = write_scenes(tmp_path)
    indexed = read_scenes(root, REQUIREMENTS)
    (root / "scene_index.json").unlink()
    listed = read_scenes(root, REQUIREMENTS)
    assert [[frame.meta_path for frame in scene.frames] for scene in listed] == [
        [frame.meta_path for frame in scene.frames] for scene in indexed
    ]


@pytest.mark.parametrize("spelling", ["stacked", "numbered"])
@pytest.mark.parametrize("scene_index", [True, False])
def test_the_other_spellings_hold_the_same_images(tmp_path: Path, spelling: Spelling, scene_index: bool):
    written = {
        name: read_scenes(
            write_scenes(tmp_path / name, spelling=name, frame_numbers=(3, 8), scene_index=scene_index), REQUIREMENTS
        )
        for name in ("cameras", spelling)
    }
    for scene, expected_scene in zip(written[spelling], written["cameras"], strict=True):
        for frame, expected_frame in zip(scene.frames, expected_scene.frames, strict=True):
            for image, expected in zip(frame.images, expected_frame.images, strict=True):
                content = cv2.imread(str(image.path))[slice(*(image.rows or (None,)))]
                np.testing.assert_array_equal(content, cv2.imread(str(expected.path)))


def test_a_selection_of_scenes(tmp_path: Path):
    root = write_scenes(tmp_path, num_scenes=4, frames_per_scene=1)
    assert [scene.name[-1] for scene in read_scenes(root, REQUIREMENTS, start_scene=1, end_scene=3)] == ["1", "2"]
    assert [scene.name[-1] for scene in read_scenes(root, REQUIREMENTS, start_scene=2, end_scene=99)] == ["2", "3"]
    for start, end in ((4, None), (-1, None), (2, 2), (3, 1)):
        with pytest.raises(SceneError, match=r"has 4 scenes; scenes .* select none"):
            read_scenes(root, REQUIREMENTS, start_scene=start, end_scene=end)


def test_only_selected_scenes_are_checked(tmp_path: Path):
    root = write_scenes(tmp_path, frames_per_scene=1)
    (root / "scene-0000" / "cam_00_000000.png").unlink()
    assert len(read_scenes(root, REQUIREMENTS, start_scene=1)) == 1


def test_all_defects_are_reported_at_once_each_with_its_file(tmp_path: Path):
    root = write_scenes(tmp_path, frames_per_scene=4)
    first, second = root / "scene-0000", root / "scene-0001"
    (first / "cam_03_000001.png").unlink()
    whole = (first / "cam_02_000002.png").read_bytes()
    (first / "cam_02_000002.png").write_bytes(whole[: len(whole) // 2])
    (first / "meta_000003.json").write_text("{")
    (second / "meta_000000.json").unlink()
    edit_meta(second / "meta_000001.json", can_bus=[0.0] * 17, num_cams=5)
    cv2.imwrite(str(second / "cam_05_000002.png"), np.zeros((64, 160, 3), np.uint8))
    (second / "cam_01_000003.png").write_bytes(cv2.imencode(".bmp", np.zeros((96, 160, 3), np.uint8))[1].tobytes())
    defects = defects_of(root)
    expected = [
        (first / "cam_03_000001.png", "is missing"),
        (first / "cam_02_000002.png", "is truncated"),
        (first / "meta_000003.json", "is not valid JSON"),
        (second / "meta_000000.json", "is missing"),
        (second / "meta_000001.json", "can_bus has shape (17,); expected (18,)"),
        (second / "meta_000001.json", "num_cams is 5; the configuration has 6"),
        (second / "cam_05_000002.png", "is 64 x 160 pixels (height x width); the configuration asks for 96 x 160"),
        (second / "cam_01_000003.png", "is neither PNG nor JPEG: it is a BMP image"),
    ]
    assert len(defects) == len(expected)
    for path, message in expected:
        assert any(defect.startswith(f"{path}: {message}") for defect in defects), (path, message)


def test_the_message_holds_the_count_and_every_defect(tmp_path: Path):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1)
    (root / "scene-0000" / "cam_00_000000.png").write_bytes(b"")
    with pytest.raises(SceneError) as raised:
        read_scenes(root, REQUIREMENTS)
    assert str(raised.value) == (
        f"{root} has 1 defect; correct them and run again:\n  - {root / 'scene-0000' / 'cam_00_000000.png'}: is empty"
    )


def test_an_index_that_names_missing_things(tmp_path: Path):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, num_cams=6)
    index = {"scenes": {"scene-0000": {"samples": [0, 1]}, "gone": {"samples": [0]}}}
    (root / "scene_index.json").write_text(json.dumps(index))
    defects = defects_of(root)
    folder = root / "scene-0000"
    assert f"{folder / 'meta_000001.json'}: is missing" in defects
    assert f"{folder / 'cam_05_000001.png'}: is missing" in defects
    assert any(defect.startswith(f"{root / 'gone'}: ") for defect in defects)
    assert len(defects) == 1 + 6 + 1


def test_a_bad_index_does_not_hide_defects_of_the_other_scenes(tmp_path: Path):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1)
    (root / "scene-0000" / "cam_00_000000.png").unlink()
    index = {"scenes": {"scene-0000": {"samples": [0]}, "other": {}}}
    (root / "scene_index.json").write_text(json.dumps(index))
    assert len(defects_of(root)) == 2


@pytest.mark.parametrize("hw", [(96, 160), (65, 160), (90, 129)])
def test_padded_and_unpadded_sizes_pass(tmp_path: Path, hw: tuple[int, int]):
    assert read_scenes(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, image_hw=hw), REQUIREMENTS)


@pytest.mark.parametrize("hw", [(64, 160), (97, 160), (96, 128), (192, 320)])
def test_sizes_that_would_need_stretching_are_refused(tmp_path: Path, hw: tuple[int, int]):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, image_hw=hw)
    defects = [defect for defect in defects_of(root) if "cam_" in defect]
    assert len(defects) == 6
    assert all(f"is {hw[0]} x {hw[1]} pixels" in defect for defect in defects)


def test_a_stacked_image_must_divide_into_the_cameras(tmp_path: Path):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, spelling="stacked")
    cv2.imwrite(str(root / "scene-0000" / "img_000000.png"), np.zeros((6 * 96 - 1, 160, 3), np.uint8))
    (defect,) = defects_of(root)
    assert defect.endswith("img_000000.png: 575 rows can't hold 6 stacked images of the same height")


def test_progress_counts_frames(tmp_path: Path):
    told: list[tuple[str, int, int]] = []
    root = write_scenes(tmp_path, num_scenes=2, frames_per_scene=2)
    read_scenes(root, REQUIREMENTS, on_progress=lambda *progress: told.append(progress))
    assert told == [("checking scenes", done, 4) for done in (1, 2, 3, 4)]


def test_an_interruption_does_not_wait_for_the_rest_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=40, num_cams=1)
    checked: list[int] = []

    def slow_check(content: bytes) -> tuple[int, int]:
        checked.append(len(content))
        time.sleep(0.02)
        return REQUIREMENTS.image_hw

    def interrupt(*progress: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reader, "check_image", slow_check)
    monkeypatch.setattr(reader, "ThreadPoolExecutor", lambda: ThreadPoolExecutor(2))
    with pytest.raises(KeyboardInterrupt):
        read_scenes(root, SceneRequirements(1, REQUIREMENTS.image_hw, REQUIREMENTS.img_norm), on_progress=interrupt)
    assert len(checked) < 20


@requires_shared_data
def test_real_frames():
    root = shared_data() / "nuscenes_scene_0103" / "extracted_data"
    (scene,) = read_scenes(root, SceneRequirements(6, (480, 800), micro_config().img_norm))
    assert scene.name == "fcbccedd61424f1b85dcbf8f897f9754"
    assert [frame.index for frame in scene.frames] == [0, 1, 2, 3]
    assert scene.frames[0].timestamp_us == 1533151603547590
    assert scene.frames[0].gt_boxes is None
    with pytest.raises(SceneError, match=r"img_norm_cfg\.mean is .*the configuration has \[103\.53"):
        norm = micro_config().img_norm
        read_scenes(root, SceneRequirements(6, (480, 800), type(norm)((103.53, 116.28, 123.675), (1.0,) * 3, False)))
