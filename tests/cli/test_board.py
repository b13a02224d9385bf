"""`infer` and `evaluate` as on a board: the stand-in for AXEngine, a recorded reference, nothing of PyTorch or ONNX."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bevformer_lib.config.camera_capacity import CameraCapacity, PillarGrid
from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from tests.support.board import STANDINS, be_a_board, compile_graph
from tests.support.calibration import ToyWorld
from tests.support.commands import bevformer
from tests.support.micro import micro_config
from tests.support.scenes import let_all_cameras_look_ahead, write_scenes

ABSENT = ("torch", "torchvision", "onnx", "onnxruntime", "onnxsim")
"""What a board does not have."""

ON_THE_BOARD = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

ABSENT = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Absent())
from bevformer_lib.cli.app import LIBRARY_COMMANDS, run
status = run(LIBRARY_COMMANDS, sys.argv[2:])
loaded = sorted({name.split(".")[0] for name in sys.modules} & ABSENT)
sys.exit(f"imported: {loaded}" if loaded else status)
"""


@pytest.fixture(scope="module")
def axmodel(toy_world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_graph(toy_world.model, tmp_path_factory.mktemp("böard") / "compiled.axmodel")


def on_the_board(*arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``bevformer`` in a process that has the stand-in's library and none of ``ABSENT``."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{STANDINS}{os.pathsep}{STANDINS.parents[1]}",
        **{f"AXENGINE_STANDIN_{name.upper()}": value for name, value in {"libraries": "ax_engine", **settings}.items()},
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", ON_THE_BOARD, json.dumps(ABSENT), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_infer_writes_what_onnx_runtime_writes(
    toy_world: ToyWorld, axmodel: Path, config_json: Path, tmp_path: Path
) -> None:
    given = (config_json, toy_world.scenes_root, "--no-images", "--no-video", "--output-dir")
    done = on_the_board("infer", axmodel, *given, tmp_path / "board", "--runtime", "axengine")
    assert done.returncode == 0, done.stderr
    assert "[INFO]" not in done.stdout
    assert "C library" not in done.stdout
    assert "model loaded in" in done.stdout
    for stage in ("load", "preprocess", "inference", "postprocess", "draw"):
        assert stage in done.stdout
    assert bevformer("infer", toy_world.model, *given, tmp_path / "here") == 0
    for scene in toy_world.scenes:
        board, here = (
            json.loads((tmp_path / place / scene / "detections.json").read_text()) for place in ("board", "here")
        )
        assert board["made_with"]["runtime"] == "axengine"
        assert "device" not in board["made_with"]
        assert board["frames"] == here["frames"]


def test_a_calibration_beyond_the_compiled_models_capacity_is_refused(
    toy_world: ToyWorld, axmodel: Path, tmp_path: Path
) -> None:
    scenes = let_all_cameras_look_ahead(write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2))
    config, capacity = tmp_path / "inference_config.json", CameraCapacity(2, PillarGrid.of(micro_config()))
    write_inference_config(inference_config_of(micro_config(), capacity), config)
    options = ("--runtime", "axengine", "--no-images", "--no-video", "--end-scene", "1")
    done = on_the_board("infer", axmodel, config, scenes, *options, "--output-dir", tmp_path / "refused")
    assert done.returncode == 1
    assert f"error: {scenes / 'scene-0000' / 'meta_000000.json'}: its cameras show" in done.stderr
    assert "more cameras (6) than the model takes (2 per cell)" in done.stderr
    assert not list((tmp_path / "refused").glob("scene-*"))
    done = on_the_board("infer", axmodel, config, toy_world.scenes_root, *options, "--output-dir", tmp_path / "taken")
    assert done.returncode == 0, done.stderr


def test_evaluate_against_a_recording(toy_world: ToyWorld, axmodel: Path, config_json: Path, tmp_path: Path) -> None:
    recording, reports = tmp_path / "reference", [tmp_path / "board.json", tmp_path / "here.json"]
    assert bevformer("record", toy_world.model, config_json, toy_world.scenes_root, "--output-dir", recording) == 0
    given = (config_json, toy_world.scenes_root, "--output")
    done = on_the_board("evaluate", recording, axmodel, *given, reports[0], "--runtime", "axengine")
    assert done.returncode == 0, done.stderr
    assert bevformer("evaluate", toy_world.model, toy_world.model, *given, reports[1]) == 0
    board, here = (json.loads(report.read_text()) for report in reports)
    assert board["reference"]["sha256"] == here["reference"]["sha256"]
    for content in (board, here):
        content.pop("reference"), content.pop("candidate")
        content["summary"].pop("latency")
        for scene in content["scenes"]:
            for frame in scene["frames"]:
                frame.pop("seconds")
    assert board == here


def test_what_the_board_lacks_is_said_in_one_line(toy_world: ToyWorld, config_json: Path, tmp_path: Path) -> None:
    given = (config_json, toy_world.scenes_root, "--output-dir", tmp_path / "out")
    done = on_the_board("infer", toy_world.model, *given)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ONNX Runtime is not installed")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"vnpu": "ENABLED"}, "was compiled for more NPU cores"),
        ({"libraries": "axcl_rt", "chip": "AX620E"}, "AXEngine can't load it (axclrtEngineLoadFromFile failed.)"),
        ({"init": "fail"}, "AXEngine can't start the NPU (Failed to initialize ax sys.)"),
    ],
)
def test_a_failed_load_is_one_line_and_leaves_standard_output_alone(
    toy_world: ToyWorld, axmodel: Path, config_json: Path, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    given = (config_json, toy_world.scenes_root, "--output-dir", tmp_path / "out", "--runtime", "axengine")
    done = on_the_board("infer", axmodel, *given, **settings)
    assert done.returncode == 1
    assert done.stdout == ""
    ours = [line for line in done.stderr.splitlines() if "stand-in's C library" not in line]
    assert len(ours) == 1 and ours[0].startswith("error: ") and said in ours[0]


@pytest.mark.parametrize(("init", "status"), [("", 1), ("fail", 1)])
def test_doctor_starts_the_npu_and_says_nothing_else(init: str, status: int) -> None:
    done = on_the_board("doctor", "--role", "edge", init=init)
    assert "[INFO]" not in done.stdout and "C library" not in done.stdout and "Traceback" not in done.stderr
    assert done.returncode == status, "here neither a server nor a store is named"
    assert ("AXEngine" in done.stderr.splitlines()[0]) == bool(init)


def test_a_device_is_refused(
    axmodel: Path, config_json: Path, toy_world: ToyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    be_a_board(monkeypatch)
    given = (config_json, toy_world.scenes_root, "--runtime", "axengine", "--device", "cpu")
    assert bevformer("infer", axmodel, *given, "--output-dir", tmp_path / "out") == 1
    assert bevformer("evaluate", toy_world.model, axmodel, *given, "--output", tmp_path / "out.json") == 1
    assert bevformer("infer", toy_world.model, *given[:2], "--npu", "card:1", "--output-dir", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "npu card:1: ONNX Runtime runs on no NPU; leave --npu out" in said
    assert said.count("device cpu: AXEngine runs a model on the NPU that it was compiled for") == 2
    assert list(tmp_path.iterdir()) == []


def test_rotation_on_the_host_is_recorded_and_changes_what_is_fed(
    axmodel: Path, config_json: Path, toy_world: ToyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_a_board(monkeypatch)
    given = (toy_world.model, axmodel, config_json, toy_world.scenes_root, "--runtime", "axengine", "--output")
    assert bevformer("evaluate", *given, tmp_path / "rotated.json", "--host-rotate-center", "100", "100") == 0
    outputs = json.loads((tmp_path / "rotated.json").read_text())["summary"]["outputs"]
    assert outputs["bev_embed"]["worst_cosine"] < 0.9999
    infer = ("infer", axmodel, config_json, toy_world.scenes_root, "--runtime", "axengine", "--no-images")
    options = ("--no-video", "--end-scene", "1", "--host-rotate-center", "100", "100")
    assert bevformer(*infer, *options, "--output-dir", tmp_path / "out") == 0
    content = json.loads(next((tmp_path / "out").glob("*/detections.json")).read_text())
    assert content["made_with"]["host_rotate_center"] == "100.0 100.0"
