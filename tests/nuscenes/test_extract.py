from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from bevformer_lib.cli.app import EXIT_USAGE, LIBRARY_COMMANDS, run
from bevformer_lib.config.presets import TINY
from bevformer_lib.errors import ConfigError, SceneError
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.nuscenes import extract
from bevformer_lib.nuscenes.devkit import open_dataset
from bevformer_lib.nuscenes.extract import Extraction, camera_image, extract_scenes
from bevformer_lib.nuscenes.poses import lidar_to_image
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.scenes.types import Scene
from tests.support.micro import CLASS_NAMES
from tests.support.nuscenes import (
    FIRST_US,
    KEYFRAMES,
    SCENE_NAMES,
    SPLIT,
    VERSION,
    ego_pose,
    micro_extraction,
    token,
    write_nuscenes,
)


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_scenes_in_order_with_their_tokens_and_times(scenes: tuple[Scene, ...], extracted: Path) -> None:
    assert [scene.name for scene in scenes] == list(SCENE_NAMES)
    for scene in scenes:
        assert [frame.sample_token for frame in scene.frames] == [
            token("sample", scene.name, frame) for frame in range(KEYFRAMES)
        ]
        assert [frame.timestamp_us for frame in scene.frames] == [
            FIRST_US[scene.name] + 500_000 * frame for frame in range(KEYFRAMES)
        ]
    meta = json.loads((extracted / "scene-0103" / "meta_000000.json").read_text())
    assert meta["scene_token"] == token("scene", "scene-0103")
    assert not list(extracted.rglob(".*")), "nothing half-written is left"


def test_projections_are_scaled_with_the_images(scenes: tuple[Scene, ...], dataset: Any) -> None:
    for scene in scenes:
        for frame in scene.frames:
            whole = lidar_to_image(dataset, dataset.get("sample", frame.sample_token))
            expected = np.diag((0.1, 0.1, 1, 1)) @ whole
            np.testing.assert_allclose(frame.lidar_to_image, expected, rtol=0, atol=1e-9)


def test_the_discs_in_the_images_are_where_boxes_project(scenes: tuple[Scene, ...], nuscenes_root: Path) -> None:
    """At tiny's scale: every annotated centre in view falls on a yellow disc of the rendered image."""
    tiny = Extraction.for_model(TINY, version=VERSION, split=SPLIT, can_bus=False)
    seen = 0
    for scene in scenes:
        for number, frame in enumerate(scene.frames):
            for camera, channel in enumerate(CAMERA_ORDER):
                path = nuscenes_root / "samples" / channel / f"{scene.name}-{number}.jpg"
                image = camera_image(path, tiny)
                assert image.shape == (480, 800, 3)
                matrix = np.diag((5, 5, 1, 1)) @ frame.lidar_to_image[camera]
                for box in frame.gt_boxes or ():
                    u, v, depth, _ = matrix @ (*box.center_m, 1.0)
                    column, row = round(u / depth), round(v / depth)
                    if depth > 1.5 and 0 <= column < 800 and 0 <= row < 450:
                        blue, green, red = image[row, column].tolist()
                        assert green > 200 and red > 200 and blue < 80, (path, box.category)
                        seen += 1
    assert seen > 80


def test_padding_is_the_mean_color(extracted: Path) -> None:
    image = cv2.imread(str(extracted / "scene-0103" / "cam_00_000000.png"))
    assert image.shape == (96, 160, 3)
    assert (image[90:] == np.round((103.53, 116.28, 123.675))).all()
    assert not (image[:90] == np.round((103.53, 116.28, 123.675))).all(axis=-1).any()


def test_can_bus_from_poses_and_messages(scenes: tuple[Scene, ...]) -> None:
    for scene in scenes:
        for number, frame in enumerate(scene.frames):
            translation, rotation = ego_pose(scene.name, number * 500_000)
            can_bus = frame.can_bus_absolute
            np.testing.assert_allclose(can_bus[:3], translation, atol=1e-9)
            np.testing.assert_allclose(can_bus[3:7], rotation.w)
            assert can_bus[17] == pytest.approx(math.degrees(can_bus[16]))
            assert 0.0 <= can_bus[16] < 2 * math.pi
    last_before = (500_000 - 7_000) // 20_000
    assert scenes[0].frames[1].can_bus_absolute[7] == pytest.approx(0.1 * last_before)
    assert not scenes[0].frames[0].can_bus_absolute[7:16].any(), "the first message comes after the first keyframe"
    assert scenes[1].frames[0].can_bus_absolute[17] == pytest.approx(360.0 - math.degrees(0.2), abs=0.02)


def test_annotations_by_hand(scenes: tuple[Scene, ...]) -> None:
    """On the straight scene, frame 2: the car is at (510, 1000), its LiDAR at (510.9, 1000, 1.8)."""
    frame = scenes[0].frames[2]
    assert frame.gt_boxes is not None
    boxes = {(box.category, round(box.center_m[1])): box for box in frame.gt_boxes}
    ahead = boxes["car", 25]
    assert ahead.center_m == pytest.approx((0.0, 525.9 + 10.0 - 510.9, 0.0), abs=1e-9)
    assert ahead.size_wlh_m == (2.0, 4.5, 1.6)
    assert ahead.yaw_rad == pytest.approx(math.pi / 2), "along the road: the LiDAR's y axis"
    assert ahead.velocity_mps == pytest.approx((0.0, 10.0), abs=1e-9)
    assert (ahead.attribute, ahead.num_lidar_pts, ahead.num_radar_pts) == ("vehicle.moving", 20, 1)
    walker = next(box for box in frame.gt_boxes if box.attribute == "pedestrian.moving")
    assert walker.velocity_mps == pytest.approx((-1.2, 0.5)), "to the left is the LiDAR's -x"
    assert {box.category for box in frame.gt_boxes} == set(CLASS_NAMES), "a dog is in no detection class"
    (rack,) = frame.bicycle_racks
    assert rack.center_m == pytest.approx((-9.0, 506.0 - 510.9, 0.7 - 1.8))
    assert [box.velocity_known for box in scenes[0].frames[1].gt_boxes or ()].count(False) == 1


def test_a_second_run_has_nothing_to_do(nuscenes_root: Path, extracted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in extracted.rglob("*")}
    assert extract_scenes(nuscenes_root, micro_extraction(), extracted).scenes_now == 0
    assert before == {path: path.stat().st_mtime_ns for path in extracted.rglob("*")}


def test_an_interrupted_run_is_carried_on(
    nuscenes_root: Path, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, write_frame, calls = tmp_path / "scenes", extract.write_frame, []

    def dies_in_the_second_scene(folder: Path, index: int, *args: Any, **kwargs: Any) -> None:
        calls.append(folder)
        if "0916" in folder.name and index == 2:
            raise OSError("pulled the plug")
        write_frame(folder, index, *args, **kwargs)

    monkeypatch.setattr(extract, "write_frame", dies_in_the_second_scene)
    with pytest.raises(OSError, match="pulled the plug"):
        extract_scenes(nuscenes_root, micro_extraction(), output)
    assert {path.name for path in output.iterdir()} == {"scene-0103", "extracted.json"}

    calls.clear()
    monkeypatch.setattr(extract, "write_frame", write_frame)
    shown: list[tuple[str, int, int]] = []
    result = extract_scenes(
        nuscenes_root, micro_extraction(), output, workers=1, on_progress=lambda *done: shown.append(done)
    )
    assert (result.scenes_now, result.frames) == (1, 2 * KEYFRAMES)
    assert shown[0] == ("extracting", KEYFRAMES, 2 * KEYFRAMES)
    assert shown[-1] == ("extracting", 2 * KEYFRAMES, 2 * KEYFRAMES)
    assert digests(output) == digests(extracted), "the same bytes as without the interruption, whatever the threads"


def test_another_folder_is_refused(nuscenes_root: Path, extracted: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="can_bus differ"):
        extract_scenes(nuscenes_root, micro_extraction(can_bus=False), extracted)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(SceneError, match=r"is not empty and holds no readable extracted\.json"):
        extract_scenes(nuscenes_root, micro_extraction(), tmp_path)
    with pytest.raises(SceneError, match="is a file"):
        extract_scenes(nuscenes_root, micro_extraction(), tmp_path / "note.txt")


def test_what_the_dataset_lacks_is_said_before_any_work(tmp_path: Path) -> None:
    root, output = write_nuscenes(tmp_path / "root", can_bus=False), tmp_path / "scenes"
    with pytest.raises(SceneError, match="CAN bus expansion"):
        extract_scenes(root, micro_extraction(), output)
    with pytest.raises(SceneError, match=r"no tables of nuScenes v1\.0-trainval there; versions in .*: v1\.0-mini"):
        open_dataset(root, "v1.0-trainval")
    plain = micro_extraction(can_bus=False)
    with pytest.raises(SceneError, match="holds 0 of the 8 scenes of split 'mini_train'"):
        extract_scenes(root, dataclasses.replace(plain, split="mini_train"), output)
    with pytest.raises(SceneError, match="split 'evening' is neither official"):
        extract_scenes(root, dataclasses.replace(plain, split="evening"), output)
    assert not output.exists()
    missing = root / "samples" / "CAM_BACK" / "scene-0916-3.jpg"
    missing.unlink()
    with pytest.raises(SceneError, match="the split is not whole") as caught:
        extract_scenes(root, plain, output)
    assert caught.value.defects == (f"{missing}: is missing",)
    missing.write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(SceneError, match=r"scene-0916-3\.jpg: is no image that can be decoded"):
        extract_scenes(root, plain, output)
    (root / VERSION / "ego_pose.json").write_text("[{")
    with pytest.raises(SceneError, match="the tables can't be loaded"):
        open_dataset(root, VERSION)


def changed(nuscenes_root: Path, folder: Path, table: str, old: str, new: str) -> Path:
    """A copy of the dataset with another text in one of its tables."""
    shutil.copytree(nuscenes_root, folder)
    path = folder / VERSION / table
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def test_an_empty_table_is_named(nuscenes_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(nuscenes_root, root)
    (root / VERSION / "map.json").write_text("[]\n")
    with pytest.raises(SceneError, match=r"the tables are not whole: .*map\.json.* empty"):
        open_dataset(root, VERSION)


def test_foreign_categories_are_counted_and_said(
    nuscenes_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = changed(nuscenes_root, tmp_path / "root", "category.json", '"vehicle.car"', '"vehicle.tesla.model3"')
    result = extract_scenes(root, micro_extraction(), tmp_path / "scenes")
    assert list(result.foreign) == ["vehicle.tesla.model3"] and result.foreign["vehicle.tesla.model3"] > 0
    assert extract_scenes(root, micro_extraction(), tmp_path / "scenes").foreign == result.foreign
    assert extract_scenes(nuscenes_root, micro_extraction(), tmp_path / "own").foreign == {}
    arguments = ["extract-scenes", "--nuscenes-root", str(root), "--version", VERSION, "--split", SPLIT]
    assert run(LIBRARY_COMMANDS, [*arguments, "--model", "tiny", "--output", str(tmp_path / "tiny")]) == 0
    counted = result.foreign["vehicle.tesla.model3"]
    assert f"{counted} annotations are left out" in capsys.readouterr().err


@pytest.mark.parametrize("table", ["ego_pose.json", "calibrated_sensor.json"])
def test_poses_that_are_none(nuscenes_root: Path, tmp_path: Path, table: str) -> None:
    root = tmp_path / "root"
    shutil.copytree(nuscenes_root, root)
    path = root / VERSION / table
    records = json.loads(path.read_text(encoding="utf-8"))
    for field, value in (("translation", [math.nan, 0.0, 0.0]), ("rotation", [0.0] * 4), ("rotation", [1.0])):
        path.write_text(json.dumps([{**record, field: value} for record in records]))
        with pytest.raises(SceneError, match="are no pose"):
            extract_scenes(root, micro_extraction(), tmp_path / "scenes")


def test_an_image_of_another_size_than_its_calibration(nuscenes_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(nuscenes_root, root)
    path = root / "samples" / "CAM_BACK" / "scene-0916-3.jpg"
    cv2.imwrite(str(path), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(SceneError, match=r"scene-0916-3\.jpg: has 1 x 1 pixels \(height x width\), but 900 x 1600"):
        extract_scenes(root, micro_extraction(), tmp_path / "scenes")


def test_a_split_of_ones_own(nuscenes_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    shutil.copytree(nuscenes_root, root)
    (root / VERSION / "splits.json").write_text(json.dumps({"evening": ["scene-0916"]}))
    result = extract_scenes(root, dataclasses.replace(micro_extraction(), split="evening"), tmp_path / "scenes")
    assert result.scenes == ("scene-0916",)


def test_models_that_do_not_fit(nuscenes_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 1 cameras; nuScenes has 6"):
        Extraction.for_model(dataclasses.replace(TINY, num_cams=1), version=VERSION, split=SPLIT, can_bus=False)
    small = dataclasses.replace(micro_extraction(), image_scale=0.2)
    with pytest.raises(SceneError, match=r"scaled by 0\.2 it has 180 x 320 pixels, more than the model's 96 x 160"):
        extract_scenes(nuscenes_root, small, tmp_path / "scenes")


def test_command(nuscenes_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["extract-scenes", "--nuscenes-root", str(nuscenes_root), "--version", VERSION, "--split", SPLIT]
    arguments += ["--model", "tiny", "--output", str(tmp_path / "scenes"), "--can-bus"]
    assert run(LIBRARY_COMMANDS, arguments) == 0
    shown = capsys.readouterr()
    assert "2 scenes, 8 frames of nuScenes v1.0-mini mini_val, images of 480 x 800" in shown.out
    assert "extracting: 8/8" in shown.err
    found = read_scenes(tmp_path / "scenes", SceneRequirements.of_model(TINY))
    assert [len(scene.frames) for scene in found] == [KEYFRAMES, KEYFRAMES]
    assert run(LIBRARY_COMMANDS, arguments) == 0
    assert "all there already" in capsys.readouterr().out
    assert run(LIBRARY_COMMANDS, [*arguments, "--workers", "0"]) == EXIT_USAGE
