"""The gates on the demo model: a healthy build keeps them, and every planted fault is named by the first that fails."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import HEALTHY, Fault, planted_faults
from benchmarks.planted_faults import FaultyBuild, Measured, main
from bevformer_lib.config.load import load_model_config
from bevformer_lib.gates.policy import DEFAULT_POLICY, Policy, read_policy
from bevformer_lib.pipeline.builds import lay_out
from bevformer_lib.pipeline.executors import DirectExecutor
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.synthetic_scenes.make import SceneRecipe, make_scenes, scene_cameras
from flows.chain import run_chain
from flows.inputs import read_inputs
from flows.request import BuildRequest

pytestmark = pytest.mark.slow
CONFIG = load_model_config("demo")
POLICY = read_policy(DEFAULT_POLICY, CONFIG.class_names)
OTHER_CAR = np.stack([one.lidar_to_image for one in scene_cameras(6, CONFIG.image_scale, number=0, seed=1)])
FAULTS = {fault.name: fault for fault in planted_faults(CONFIG.img_norm, OTHER_CAR)}
FRAMES = 3
ONE_OF_EACH_KIND = (
    "front left for front right",
    "red and blue exchanged",
    "ego motion always 0",
    "prev_bev always 0",
    "camera calibration of another car",
    "CAM_BACK_RIGHT black",
)
"""Those of a kind that change the least; `make planted-faults` tries them all."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the demo model on one scene of the demo, as `make demo` does; return the build's folder and the scene's."""
    root = tmp_path_factory.mktemp("planted")
    recipe = SceneRecipe.of_model(CONFIG, num_scenes=1, frames_per_scene=FRAMES, seed=950000)
    make_scenes(root / "scenes", recipe)
    store = FolderStore(root / "store")
    request = BuildRequest(
        model="demo", checkpoint="demo", scenes=str(root / "scenes"), store=str(store.root), num_samples=FRAMES
    )
    result = run_chain(request, read_inputs(request, store.digests), store, DirectExecutor(store))
    return lay_out(store, result.build, root / "builds"), root / "scenes"


class RememberingBuild(FaultyBuild):
    """Measures a fault once, whoever asks."""

    def __init__(self, build: Path, scenes: Path) -> None:
        super().__init__(build, scenes)
        self._measured: dict[tuple[str, bool], Measured] = {}

    def measure(self, fault: Fault, policy: Policy, *, shared: bool = False) -> Measured:
        if (fault.name, shared) not in self._measured:
            self._measured[fault.name, shared] = super().measure(fault, policy, shared=shared)
        return dataclasses.replace(self._measured[fault.name, shared], fault=fault)


@pytest.fixture(scope="module")
def build(folders: tuple[Path, Path]) -> FaultyBuild:
    return RememberingBuild(*folders)


def test_a_healthy_build_keeps_the_gates_with_a_margin(build: FaultyBuild) -> None:
    measured = build.measure(HEALTHY, POLICY)
    assert [str(gate) for gate in measured.verdict.failed] == []
    for name in ("ego_motion", "prev_bev", "lidar2img"):
        assert measured.value(f"diagnosis.{name}") == pytest.approx(1.0, abs=0.1)
    for output in ("bev_embed", "outputs_classes", "outputs_coords"):
        assert measured.value(f"fidelity.{output}.cosine") > 0.995


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_the_first_gate_that_fails_names_the_fault(build: FaultyBuild, name: str) -> None:
    measured = build.measure(FAULTS[name], POLICY)
    first = measured.verdict.failed[0]
    assert (first.name, first.cause != "") == (FAULTS[name].diagnosis, True)
    assert FAULTS[name].words in str(first)
    assert measured.named


def test_a_fault_of_both_models_shows_against_annotations_only(build: FaultyBuild) -> None:
    fault = FAULTS["cameras in alphabetical order"]
    healthy, measured = build.measure(HEALTHY, POLICY), build.measure(fault, POLICY, shared=True)
    assert not [gate.name for gate in measured.verdict.failed if gate.name.startswith(("diagnosis.", "fidelity."))]
    for reference in (False, True):
        assert measured.value("metrics.mAP", reference=reference) < 0.2 * healthy.value("metrics.mAP")


def test_scenes_may_be_cut_short(folders: tuple[Path, Path]) -> None:
    assert [len(scene.frames) for scene in FaultyBuild(*folders, max_frames=2).scenes] == [2]


def test_the_tables(
    folders: tuple[Path, Path], build: FaultyBuild, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = (FAULTS["CAM_BACK_RIGHT black"], dataclasses.replace(FAULTS["prev_bev always 0"], words="nothing"))
    monkeypatch.setattr("benchmarks.planted_faults.planted_faults", lambda *_: chosen)
    words = [str(folder) for folder in folders]

    def opened(*given: Path, max_frames: int) -> FaultyBuild:
        assert (given, max_frames) == (folders, 2)
        return build

    monkeypatch.setattr("benchmarks.planted_faults.FaultyBuild", opened)
    with pytest.raises(SystemExit, match="not named: prev_bev always 0"):
        main([*words, "--max-frames", "2", "--policy", str(DEFAULT_POLICY)])
    printed = capsys.readouterr().out
    assert "| CAM_BACK_RIGHT black |" in printed
    assert "`diagnosis.cameras_lost`: 1 |" in printed
    assert "| fault of both models |" in printed
    assert "| `diagnosis.cameras_lost <= 0` | 0 | 0 | CAM_BACK_RIGHT black: 1 |" in printed
