from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bevformer_lib.errors import ConfigError, OutputError, SceneError
from bevformer_lib.infer.detector import Detector
from bevformer_lib.infer.infer import InferResult, infer_scenes
from bevformer_lib.infer.scene_stages import InferModel, InferSettings
from bevformer_lib.infer.stages import STAGES, StageSeconds, latency_by_stage
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from tests.infer.models import CONFIG, fake_runtime
from tests.support.fake_runtime import FakeRuntime
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes

DRAWN = InferSettings(score_threshold=0.3, fps=2.0)
UNDRAWN = InferSettings(score_threshold=0.3, fps=2.0, images=False, video=False)


@pytest.fixture(scope="module")
def scenes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("Zürich scenes"), frames_per_scene=4)


def run(
    scenes_root: Path,
    output: Path,
    *,
    settings: InferSettings = UNDRAWN,
    runtime: FakeRuntime | None = None,
    made_with: Mapping[str, str] | None = None,
    **more: Any,
) -> InferResult:
    scenes = read_scenes(scenes_root, SceneRequirements.of_model(micro_config()))
    model = InferModel(
        Detector(runtime or fake_runtime(), CONFIG),
        name="micro.onnx",
        made_with=made_with or {"model_sha256": "1234"},
    )
    return infer_scenes(scenes, model, settings, output, **more)


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_scene_gets_its_detections_images_and_video(scenes_root: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    result = run(
        scenes_root,
        tmp_path / "out",
        settings=DRAWN,
        on_progress=lambda _, done, total: told.append((done, total)),
    )
    assert result.inferred == ("scene-0000", "scene-0001")
    assert result.finished_before == ()
    assert (result.frames, result.boxes) == (8, 16)
    assert told == [(done, 8) for done in range(1, 9)]
    one_scene = {"detections.json", "video.mp4", *(f"images/{frame:06d}.jpg" for frame in range(4))}
    expected = {f"scene-{scene:04d}/{name}" for scene in range(2) for name in one_scene}
    assert files_under(tmp_path / "out").keys() == expected | {"timings.json"}
    image = cv2.imread(str(tmp_path / "out" / "scene-0000" / "images" / "000003.jpg"))
    capture = cv2.VideoCapture(str(tmp_path / "out" / "scene-0000" / "video.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert capture.get(cv2.CAP_PROP_FPS) == 2.0
    ok, shown = capture.read()
    assert ok
    assert shown.shape == image.shape


def test_detections_say_what_the_model_gave(scenes_root: Path, tmp_path: Path) -> None:
    run(scenes_root, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "scene-0001" / "detections.json").read_text())
    assert content["scene"] == "scene-0001"
    assert content["made_with"]["score_threshold"] == 0.3
    assert [frame["index"] for frame in content["frames"]] == [0, 1, 2, 3]
    assert [frame["sample_token"] for frame in content["frames"]][3] == "scene-0001-3"
    assert content["frames"][1]["timestamp_us"] == 1_500_000_000_500_000
    for position, frame in enumerate(content["frames"]):
        car, truck = frame["boxes"]
        assert (car["class"], truck["class"]) == ("car", "truck")
        assert car["score"] == pytest.approx(0.880797)
        # prev_bev counts the frames, from 0 again in the second scene.
        assert car["center_m"] == [position, 10.0, -1.0]
        assert car["box"] == pytest.approx([position, 10, -1.75, 2, 4, 1.5, 0, 3, -4])
        assert car["size_wlh_m"] == pytest.approx([2, 4, 1.5])
        assert car["heading_rad"] == pytest.approx(-np.pi / 2, abs=1e-6)
        assert car["velocity_mps"] == [3, -4]


@pytest.mark.parametrize(("threshold", "count"), [(0.01, 3), (0.3, 2), (0.5, 1), (0.9, 0), (1.0, 0)])
def test_threshold_is_what_it_says(scenes_root: Path, tmp_path: Path, threshold: float, count: int) -> None:
    settings = InferSettings(score_threshold=threshold, fps=2, images=False, video=False)
    assert run(scenes_root, tmp_path / "out", settings=settings).boxes == 8 * count


def test_frames_without_boxes_are_drawn_too(scenes_root: Path, tmp_path: Path) -> None:
    result = run(scenes_root, tmp_path / "out", settings=InferSettings(score_threshold=1.0, fps=2, video=False))
    assert result.boxes == 0
    assert len(list((tmp_path / "out" / "scene-0000" / "images").iterdir())) == 4


def test_second_run_does_no_work(scenes_root: Path, tmp_path: Path) -> None:
    run(scenes_root, tmp_path / "out")
    before = files_under(tmp_path / "out")
    idle = fake_runtime()
    result = run(scenes_root, tmp_path / "out", runtime=idle)
    assert idle.feeds == []
    assert result.inferred == ()
    assert result.finished_before == ("scene-0000", "scene-0001")
    assert files_under(tmp_path / "out") == before


def test_same_inputs_same_bytes(scenes_root: Path, tmp_path: Path) -> None:
    run(scenes_root, tmp_path / "a", settings=DRAWN)
    run(scenes_root, tmp_path / "b", settings=DRAWN)
    one, other = files_under(tmp_path / "a"), files_under(tmp_path / "b")
    del one["timings.json"], other["timings.json"]
    assert one == other


def test_processes_that_draw_change_nothing(scenes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(scenes_root, tmp_path / "here", settings=DRAWN)
    monkeypatch.setattr("bevformer_lib.infer.infer._WORTH_PROCESSES", 1)
    result = run(scenes_root, tmp_path / "there", settings=DRAWN)
    here, there = files_under(tmp_path / "here"), files_under(tmp_path / "there")
    del here["timings.json"], there["timings.json"]
    assert here == there
    assert result.throughput is not None
    assert result.throughput.host_cpu_seconds["draw"] > 0


def test_interrupted_run_keeps_finished_scenes_and_carries_on(scenes_root: Path, tmp_path: Path) -> None:
    def interrupt(_: str, done: int, total: int) -> None:
        if done == 6:
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(scenes_root, tmp_path / "out", settings=DRAWN, on_progress=interrupt)
    assert threading.active_count() == threads
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scene-0000"]
    runtime = fake_runtime()
    result = run(scenes_root, tmp_path / "out", settings=DRAWN, runtime=runtime)
    assert result.finished_before == ("scene-0000",)
    assert result.inferred == ("scene-0001",)
    assert len(runtime.feeds) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": InferSettings(0.4, 2.0, images=False, video=False)}, "score_threshold was 0.3 and is 0.4"),
        ({"made_with": {"model_sha256": "99"}}, "model_sha256 was '1234' and is '99'"),
    ],
)
def test_results_of_another_run_are_never_overwritten(
    scenes_root: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run(scenes_root, tmp_path / "out")
    before = files_under(tmp_path / "out")
    with pytest.raises(OutputError, match=r"scene-0000 holds the results of another run") as caught:
        run(scenes_root, tmp_path / "out", **change)
    assert said in str(caught.value)
    assert "choose another output folder" in str(caught.value)
    assert files_under(tmp_path / "out") == before


def test_changed_scene_is_not_taken_for_finished(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2)
    run(root, tmp_path / "out")
    shutil.rmtree(root)
    write_scenes(root, num_scenes=1, frames_per_scene=2, seed=5)
    with pytest.raises(OutputError, match="scene_sha256 was"):
        run(root, tmp_path / "out")


def test_the_folder_of_the_scenes_is_no_output_and_nobody_is_told_to_remove_it(scenes_root: Path) -> None:
    runtime = fake_runtime()
    with pytest.raises(OutputError, match=r"holds no detections.json of an earlier run; choose another") as caught:
        run(scenes_root, scenes_root, runtime=runtime)
    assert "remove" not in str(caught.value)
    assert runtime.feeds == []


@pytest.mark.parametrize("content", ["{", "[]", '{"made_with": 3}'])
def test_foreign_folder_is_found_before_any_work(scenes_root: Path, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "out" / "scene-0001"
    folder.mkdir(parents=True)
    (folder / "detections.json").write_text(content)
    runtime = fake_runtime()
    with pytest.raises(OutputError, match=r"scene-0001/detections.json is not that of an earlier run.*remove"):
        run(scenes_root, tmp_path / "out", runtime=runtime)
    assert runtime.feeds == []


def test_broken_image_leaves_nothing_half_written(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=3)
    scenes = read_scenes(root, SceneRequirements.of_model(micro_config()))
    broken = root / "scene-0000" / "cam_04_000002.png"
    broken.write_bytes(broken.read_bytes()[:50])
    model = InferModel(Detector(fake_runtime(), CONFIG), "m", {})
    with pytest.raises(SceneError, match=r"cam_04_000002\.png"):
        infer_scenes(scenes, model, DRAWN, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_error_while_drawing_ends_the_run(scenes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("bevformer_lib.drawing.scene.write_jpeg", fail)
    with pytest.raises(OutputError, match="the disk is full"):
        run(scenes_root, tmp_path / "out", settings=DRAWN)
    assert list((tmp_path / "out").iterdir()) == []


def test_without_images_and_video(scenes_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bevformer_lib.drawing.scene.draw_frame", None)
    result = run(scenes_root, tmp_path / "out")
    assert result.boxes == 16
    assert files_under(tmp_path / "out" / "scene-0000").keys() == {"detections.json"}


def test_timings_leave_first_frames_out(scenes_root: Path, tmp_path: Path) -> None:
    result = run(scenes_root, tmp_path / "out", settings=InferSettings(0.3, 2.0, video=False))
    content = json.loads((tmp_path / "out" / "timings.json").read_text())
    expected = ["load", "preprocess", "wait", "inference", "postprocess", "draw"]
    assert list(content["stages"]) == list(STAGES) == expected
    assert content["stages"]["draw"]["frames"] == 6
    assert [len(frames) for frames in content["scenes"].values()] == [4, 4]
    assert result.latency["draw"] is not None
    assert result.latency["draw"].median_s > 0


def test_median_and_95th_percentile() -> None:
    warm = (StageSeconds(i, i, 2 * i, 0, 1) for i in range(1, 102))
    frames = [StageSeconds(100.0, 100.0, 100.0, 100.0, 100.0), *warm]
    latency = latency_by_stage([frames])
    assert latency["load"] is not None
    assert (latency["load"].median_s, latency["load"].p95_s, latency["load"].frames) == (51, 96, 101)
    assert latency_by_stage([frames[:1], frames[:1]]) == dict.fromkeys(STAGES)


@pytest.mark.parametrize(
    ("threshold", "fps", "said"),
    [
        (-0.1, 2.0, "score threshold"),
        (1.5, 2.0, "score threshold"),
        (float("nan"), 2.0, "score threshold"),
        (0.3, 0.0, "frames per second"),
        (0.3, float("nan"), "frames per second"),
    ],
)
def test_impossible_settings_are_refused(threshold: float, fps: float, said: str) -> None:
    with pytest.raises((ConfigError, OutputError), match=said):
        InferSettings(score_threshold=threshold, fps=fps)
