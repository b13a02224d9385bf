from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from bevformer_lib.errors import ConfigError, SceneError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.names import CAN_BUS_YAW_RAD
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.synthetic_scenes.make import MAX_BOX_DISTANCE_M, RECIPE_NAME, SceneRecipe, make_scenes
from tests.support.micro import micro_config

ROOT = Path(__file__).resolve().parents[2]


def _recipe(**changes: object) -> SceneRecipe:
    recipe = SceneRecipe.of_model(micro_config(), num_scenes=2, frames_per_scene=2, seed=3)
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


def _digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of_file(path) for path in folder.rglob("*") if path.is_file()}


def _ends_within(group: int, seconds: float) -> bool:
    """Whether no process of a group is left after a while."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "scénes 1"
    assert make_scenes(output, _recipe()) == 2
    return output


def test_reads_back_without_defects(made: Path) -> None:
    scenes = read_scenes(made, SceneRequirements.of_model(micro_config()))
    assert [scene.name for scene in scenes] == ["synthetic-0000", "synthetic-0001"]
    assert all(len(scene.frames) == 2 for scene in scenes)
    for frame in (frame for scene in scenes for frame in scene.frames):
        assert frame.gt_boxes
        assert all(math.hypot(*box.center_m[:2]) <= MAX_BOX_DISTANCE_M for box in frame.gt_boxes)
        assert 0 <= frame.can_bus_absolute[CAN_BUS_YAW_RAD] < 2 * math.pi


def test_images_are_padded_with_the_mean_colour(made: Path) -> None:
    image = cv2.imread(str(made / "synthetic-0000" / "cam_00_000000.png"))
    assert image is not None
    assert image.shape == (96, 160, 3)
    red, green, blue = (round(value) for value in micro_config().img_norm.mean)
    assert (image[90:] == (blue, green, red)).all()
    assert image[:90].std() > 20


def test_same_seed_same_bytes_in_another_process_with_other_threads(made: Path, tmp_path: Path) -> None:
    script = (
        "import sys, cv2; from pathlib import Path; cv2.setNumThreads(int(sys.argv[2]))\n"
        "from bevformer_lib.synthetic_scenes.make import make_scenes\n"
        "from tests.synthetic_scenes.test_make import _recipe\n"
        "make_scenes(Path(sys.argv[1]), _recipe())"
    )
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-c", script, str(again), "3"], cwd=ROOT, check=True)
    assert _digests(again) == _digests(made)


def test_several_processes_write_the_same_bytes(made: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    assert make_scenes(tmp_path / "made", _recipe(), workers=2, on_progress=lambda *now: told.append(now)) == 2
    assert _digests(tmp_path / "made") == _digests(made)
    assert told == [("render", 0, 4), ("render", 2, 4), ("render", 4, 4)]
    assert make_scenes(tmp_path / "made", _recipe(), workers=2) == 0


def test_one_failure_names_its_scene_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    output = tmp_path / "made"
    broken = _recipe(class_names=None)
    with pytest.raises(SceneError, match=r"synthetic-000[01]: could not be rendered: "):
        make_scenes(output, broken, workers=2)
    assert [path.name for path in output.iterdir()] == [RECIPE_NAME]
    with pytest.raises(SceneError, match="number of workers: 0"):
        make_scenes(output, broken, workers=0)


def test_ctrl_c_ends_all_processes_and_the_next_run_carries_on(made: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from bevformer_lib.synthetic_scenes.make import make_scenes\n"
        "from tests.synthetic_scenes.test_make import _recipe\n"
        "make_scenes(Path(sys.argv[1]), _recipe(num_scenes=40), workers=2,\n"
        "            on_progress=lambda what, done, total: print(done, flush=True))"
    )
    output = tmp_path / "made"
    running = subprocess.Popen(
        [sys.executable, "-c", script, str(output)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "0\n"
    assert running.stdout.readline() == "2\n"
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode != 0
    assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")
    assert _ends_within(running.pid, 20.0)
    assert not list(output.glob(".*partial*"))
    finished = {path.name for path in output.iterdir() if path.is_dir()}
    assert 0 < len(finished) < 40
    expected = _digests(made)
    for name, digest in _digests(output).items():
        assert expected.get(name, digest) == digest or name == RECIPE_NAME


def test_another_image_size_gives_the_same_boxes(tmp_path: Path) -> None:
    for name, scale in (("small", 0.1), ("large", 0.3)):
        hw = (round(900 * scale), round(1600 * scale))
        make_scenes(tmp_path / name, _recipe(num_scenes=2, frames_per_scene=1, image_hw=hw, image_scale=scale))
    for scene in ("synthetic-0000", "synthetic-0001"):
        small, large = (
            json.loads((tmp_path / name / scene / "meta_000000.json").read_text()) for name in ("small", "large")
        )
        assert small["gt_boxes"] and small["gt_boxes"] == large["gt_boxes"]
        assert small["can_bus"] == large["can_bus"]
        scaled = np.diag([3.0, 3.0, 1.0, 1.0]) @ np.array(small["lidar2img"])
        np.testing.assert_allclose(scaled, large["lidar2img"], rtol=1e-6, atol=1e-6)


def test_a_scene_depends_neither_on_how_many_are_made_nor_on_frames_before(made: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path / "one", _recipe(num_scenes=1))
    expected = {name: digest for name, digest in _digests(made).items() if name.startswith("synthetic-0000")}
    assert expected.items() <= _digests(tmp_path / "one").items()
    make_scenes(tmp_path / "other seed", _recipe(num_scenes=1, seed=4))
    assert not expected.items() & _digests(tmp_path / "other seed").items()


def test_an_interrupted_run_is_carried_on_with(made: Path, tmp_path: Path) -> None:
    output = tmp_path / "made"

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scenes(output, _recipe(), on_progress=interrupt)
    assert sorted(path.name for path in output.iterdir()) == sorted([RECIPE_NAME, "synthetic-0000"])
    assert make_scenes(output, _recipe()) == 1
    assert _digests(output) == _digests(made)
    assert make_scenes(output, _recipe()) == 0


def test_folders_of_others_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"of another kind \(seed differ"):
        make_scenes(made, _recipe(seed=4))
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SceneError, match="is not empty"):
        make_scenes(tmp_path, _recipe())
    with pytest.raises(SceneError, match="is a file"):
        make_scenes(tmp_path / "mine.txt", _recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_boxes_the_metas_have_none(tmp_path: Path) -> None:
    make_scenes(tmp_path / "made", _recipe(num_scenes=1, frames_per_scene=1, ground_truth=False))
    assert "gt_boxes" not in json.loads((tmp_path / "made" / "synthetic-0000" / "meta_000000.json").read_text())


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"num_scenes": 0}, SceneError, "number of scenes: 0"),
        ({"frames_per_scene": 0}, SceneError, "number of frames: 0"),
        ({"seed": -1}, SceneError, "seed: -1"),
        ({"num_cams": 7}, ConfigError, "1 to 6 cameras"),
        ({"image_hw": (80, 160)}, ConfigError, "doesn't fit"),
    ],
)
def test_impossible_recipes(changes: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        _recipe(**changes)


def test_the_ego_car_turns_moves_and_stands(made: Path, tmp_path: Path) -> None:
    make_scenes(tmp_path / "long", _recipe(num_scenes=1, frames_per_scene=20, num_cams=1))
    (scene,) = read_scenes(tmp_path / "long", SceneRequirements(1, (96, 160), micro_config().img_norm))
    absolute = np.array([frame.can_bus_absolute for frame in scene.frames])
    steps_m = np.linalg.norm(np.diff(absolute[:, :2], axis=0), axis=1)
    turns_deg = np.diff(np.unwrap(absolute[:, CAN_BUS_YAW_RAD])) * 180 / math.pi
    assert steps_m.min() < 0.05 and steps_m.max() > 2.5
    assert np.abs(turns_deg).max() > 5 and (np.abs(turns_deg[steps_m > 2.5]) < 0.5).any()


def test_boxes_say_whether_a_vehicle_is_parked_and_a_cycle_ridden(made: Path) -> None:
    scenes = read_scenes(made, SceneRequirements.of_model(micro_config()))
    boxes = [box for scene in scenes for frame in scene.frames for box in frame.gt_boxes or ()]

    for box in boxes:
        moves = math.hypot(*box.velocity_mps) > 0.2
        if box.category in ("barrier", "traffic_cone"):
            assert box.attribute is None
        elif box.category == "pedestrian":
            assert box.attribute == ("pedestrian.moving" if moves else "pedestrian.standing")
        elif box.category in ("bicycle", "motorcycle"):
            assert box.attribute in ({"cycle.with_rider"} if moves else {"cycle.with_rider", "cycle.without_rider"})
        else:
            assert box.attribute in ({"vehicle.moving"} if moves else {"vehicle.parked", "vehicle.stopped"})
    assert {"vehicle.moving", "vehicle.parked", "cycle.with_rider"} <= {box.attribute for box in boxes}
