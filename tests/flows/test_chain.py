"""The chain of steps, without an orchestrator: what is done, what is reused, and what stops it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.errors import BevformerError, CalibrationError, CheckpointError, SceneError
from bevformer_lib.names import HOST_GEOMETRY_INPUTS
from bevformer_lib.pipeline.builds import lay_out
from bevformer_lib.pipeline.evaluate import EVALUATION, read_evaluation
from bevformer_lib.pipeline.executors import DirectExecutor, FindingExecutor, NotDoneError
from bevformer_lib.pipeline.lost_camera import read_lost_camera
from bevformer_lib.report import numbers
from bevformer_lib.store.ancestry import ancestry
from bevformer_lib.store.folder import FolderStore
from flows.chain import BuildResult, run_chain
from flows.inputs import read_inputs
from tests.flows.conftest import make_request

ALL_STEPS = [
    "check-scenes",
    "export",
    "calibration-prev-bev scene-0000",
    "calibration-prev-bev scene-0001",
    "calibration",
    "convert",
    "record scene-0000",
    "record scene-0001",
    "evaluate scene-0000",
    "evaluate scene-0001",
    "metrics",
    "coverage",
    "diagnose",
    "tensors",
    "gates",
    "report",
]


def build(inputs: Path, store: FolderStore, **changes: object) -> BuildResult:
    request = make_request(inputs, store.root, **changes)
    return run_chain(request, read_inputs(request, store.digests), store, DirectExecutor(store))


def done(result: BuildResult) -> list[str]:
    return [step.record.step.title for step in result.steps if step.ran]


@pytest.fixture(scope="module")
def first_store(micro_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderStore, BuildResult]:
    store = FolderStore(tmp_path_factory.mktemp("first") / "store")
    return store, build(micro_inputs, store)


@pytest.fixture
def store(first_store: tuple[FolderStore, BuildResult], tmp_path: Path) -> FolderStore:
    """A copy of a store that holds a finished build."""
    return FolderStore(Path(shutil.copytree(first_store[0].root, tmp_path / "store")))


def test_a_first_build_does_every_step_once_in_order(first_store: tuple[FolderStore, BuildResult]) -> None:
    assert done(first_store[1]) == ALL_STEPS


def test_a_build_puts_out_what_a_user_needs(first_store: tuple[FolderStore, BuildResult], tmp_path: Path) -> None:
    store, result = first_store
    folder = lay_out(store, result.build, tmp_path)

    graph = onnx.load(folder / "model.onnx")
    assert [value.name for value in graph.graph.input] == list(HOST_GEOMETRY_INPUTS)
    quantized = onnx.load(folder / "model_int8.onnx")
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in quantized.graph.node}
    with tarfile.open(folder / "calibration" / "calibration_prev_bev.tar.gz") as archive:
        assert sorted(archive.getnames()) == ["1.npy", "2.npy", "3.npy", "4.npy"]
        member = archive.extractfile("1.npy")
        assert member is not None
        assert np.load(io.BytesIO(member.read())).shape == (120, 1, 32)
    assert json.loads((folder / "summary.json").read_text())["frames"] == 8
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "random weights" in page.lower()
    assert page.count("data:image/jpeg") >= 2


def test_nothing_changed_means_nothing_done(micro_inputs: Path, store: FolderStore) -> None:
    result = build(micro_inputs, store)
    assert done(result) == []
    assert all(step.reason.startswith("unchanged since") for step in result.steps)
    request = make_request(micro_inputs, store.root)
    found = run_chain(request, read_inputs(request, store.digests), store, FindingExecutor(store))
    assert found.build == result.build


def test_another_sample_count_redoes_the_calibration_and_what_follows(micro_inputs: Path, store: FolderStore) -> None:
    result = build(micro_inputs, store, num_samples=5)
    assert {"check-scenes", "export"}.isdisjoint(done(result))
    assert {"calibration", "convert", "evaluate scene-0000", "report"} <= set(done(result))
    calibration = next(step for step in result.steps if step.record.step.name == "calibration")
    assert "num_samples changed 4 -> 5" in calibration.reason


def test_a_changed_scene_redoes_what_depends_on_it_alone(inputs: Path, store: FolderStore) -> None:
    meta = inputs / "scenes" / "scene-0001" / "meta_000003.json"
    content = json.loads(meta.read_text())
    content["gt_boxes"] = []
    meta.write_text(json.dumps(content))
    result = build(inputs, store)
    assert "export" not in done(result)
    assert "calibration-prev-bev scene-0000" not in done(result)
    assert "calibration-prev-bev scene-0001" in done(result)
    assert "evaluate scene-0001" in done(result)


def test_a_damaged_artifact_is_made_again(
    first_store: tuple[FolderStore, BuildResult], micro_inputs: Path, store: FolderStore
) -> None:
    export = next(step.record for step in first_store[1].steps if step.record.step.name == "export")
    path = store.get_object(export.output("model.onnx").sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = build(micro_inputs, store)
    again = next(step for step in result.steps if step.ran)
    assert again.record.step.name == "export"
    assert "corrupted" in again.reason
    assert again.record.output("model.onnx") == export.output("model.onnx")


def test_the_whole_ancestry_of_the_report_can_be_told(first_store: tuple[FolderStore, BuildResult]) -> None:
    store, result = first_store
    pending, seen = [ancestry(store, result.build.outputs["model_int8.onnx"].sha256)], set()
    while pending:
        node = pending.pop()
        seen.add(node.role)
        pending.extend(node.parents)
    assert {"graph", "checkpoint", "calibration_img.tar.gz", "scene scene-0000", "scene scene-0001"} <= seen
    assert any(role.startswith("scene-0001/states/prev_bev_") for role in seen)


def test_a_broken_step_keeps_the_steps_before_it(inputs: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "new")
    checkpoint = inputs / "checkpoint.pth"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth"):
        build(inputs, store)
    checkpoint.write_bytes(whole)
    assert "check-scenes" not in done(build(inputs, store))


def test_more_samples_than_frames_is_said_before_any_work(micro_inputs: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "new")
    with pytest.raises(CalibrationError, match="8 frames"):
        build(micro_inputs, store, num_samples=9)
    assert store.list_kinds() == ()


def test_every_defect_of_the_scenes_is_said_before_any_work(inputs: Path, tmp_path: Path) -> None:
    scenes = inputs / "scenes"
    truncated = scenes / "scene-0000" / "cam_02_000001.png"
    truncated.write_bytes(truncated.read_bytes()[:-20])
    (scenes / "scene-0001" / "cam_05_000003.png").unlink()
    meta = scenes / "scene-0001" / "meta_000000.json"
    content = json.loads(meta.read_text())
    content["can_bus"] = content["can_bus"][:17]
    meta.write_text(json.dumps(content))
    store = FolderStore(tmp_path / "new")
    with pytest.raises(SceneError) as raised:
        build(inputs, store)
    message = str(raised.value)
    for place in (truncated, scenes / "scene-0001" / "cam_05_000003.png", meta):
        assert str(place) in message
    assert store.list_kinds() == ()


def test_scenes_that_change_while_they_are_used_are_noticed(inputs: Path, tmp_path: Path) -> None:
    request = make_request(inputs, tmp_path / "new")
    store = FolderStore(tmp_path / "new")
    read = read_inputs(request, store.digests)
    shutil.rmtree(inputs / "scenes" / "scene-0001")
    with pytest.raises(BevformerError):
        run_chain(request, read, store, DirectExecutor(store))


def test_finding_stops_at_what_is_not_done(micro_inputs: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "new")
    request = make_request(micro_inputs, store.root)
    with pytest.raises(NotDoneError, match="check-scenes"):
        run_chain(request, read_inputs(request, store.digests), store, FindingExecutor(store))


def test_an_emulation_is_evaluated_in_both_bounds_and_named_one(
    micro_inputs: Path, store: FolderStore, tmp_path: Path
) -> None:
    result = build(micro_inputs, store, converter="emulator", pulsar2={"recipe": "int8"})
    assert [title for title in done(result) if title not in {"diagnose", "tensors", "gates", "report"}] == [
        "ptq",
        "convert",
        "evaluate scene-0000",
        "evaluate scene-0001",
        "metrics",
        "evaluate scene-0000, optimistic",
        "evaluate scene-0001, optimistic",
        "metrics optimistic",
    ]
    outputs = result.build.outputs
    assert {"model_ptq.onnx", "model_int8.onnx", "model_int8_optimistic.onnx", "emulation.json"} <= outputs.keys()
    folder = tmp_path / "laid out"
    report = (lay_out(store, result.build, folder) / "report.html").read_text(encoding="utf-8")
    assert "What the emulated NPU computes" in report
    assert "emulation, movement operators not rounded" in report or "mAP and NDS not measured" in report


def test_a_graph_of_pixels_finds_the_same_boxes_from_a_quarter_of_the_bytes(
    first_store: tuple[FolderStore, BuildResult], micro_inputs: Path, store: FolderStore, tmp_path: Path
) -> None:
    result = build(micro_inputs, store, input_dtype="uint8")
    assert done(result) == [step for step in ALL_STEPS[1:] if step != "coverage"]
    for before, after in zip(_evaluations(*first_store), _evaluations(store, result), strict=True):
        for one, other in zip(before.frames, after.frames, strict=True):
            for side in ("reference", "candidate"):
                assert getattr(one, side).to_dict() == getattr(other, side).to_dict()
    folder = lay_out(store, result.build, tmp_path)
    diagnosis = json.loads((folder / "diagnosis.json").read_text())
    assert diagnosis["findings"]["calibration_foreign"]["value"] == 0.0
    assert read_calibration(folder / "calibration").tensors["img"].dtype == np.uint8
    size = numbers.size(6 * 3 * 96 * 160)
    assert f"uint8, {size} a frame" in (folder / "report.html").read_text(encoding="utf-8")


def _evaluations(store: FolderStore, result: BuildResult) -> list[SceneEvaluation]:
    steps = [step.record for step in result.steps if step.record.step.title.startswith("evaluate ")]
    return [read_evaluation(store, record.outputs[EVALUATION]) for record in steps]


def test_a_dropped_camera_is_measured_beside_the_rest(store: FolderStore, micro_inputs: Path) -> None:
    result = build(micro_inputs, store, drop_camera="CAM_BACK")
    assert done(result) == [
        "record scene-0000, CAM_BACK",
        "record scene-0001, CAM_BACK",
        "evaluate scene-0000, CAM_BACK",
        "evaluate scene-0001, CAM_BACK",
        "lost-camera CAM_BACK",
        "gates",
        "report",
    ]
    report = store.get_object(result.build.outputs["report.html"].sha256).read_text(encoding="utf-8")
    assert "A camera lost" in report
    lost = read_lost_camera(store, result.build.outputs["without_CAM_BACK/lost_camera.json"])
    assert lost is not None
    assert lost.camera == "CAM_BACK"


def test_a_camera_to_drop_that_the_model_lacks_is_refused_first(store: FolderStore, micro_inputs: Path) -> None:
    with pytest.raises(BevformerError, match="no camera 'CAM_TOP'"):
        build(micro_inputs, store, drop_camera="CAM_TOP")
