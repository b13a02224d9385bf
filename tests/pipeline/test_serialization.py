"""Work sent to another machine: nothing lost, nothing misread, nothing big."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from bevformer_lib.pipeline.calibrate import PrevBevWork
from bevformer_lib.pipeline.check import CheckScenesWork
from bevformer_lib.pipeline.convert import ConvertWork, Pulsar2Inputs
from bevformer_lib.pipeline.diagnose import DiagnoseWork
from bevformer_lib.pipeline.evaluate import EvaluateWork
from bevformer_lib.pipeline.export import ExportWork
from bevformer_lib.pipeline.inputs import SceneSource
from bevformer_lib.pipeline.measure import TensorsWork
from bevformer_lib.pipeline.ptq import PtqWork
from bevformer_lib.pipeline.record import RecordWork
from bevformer_lib.pipeline.record_diagnosis import RecordDiagnosisWork
from bevformer_lib.pipeline.runtimes import Simulator
from bevformer_lib.pipeline.serialization import SerializationError, deserialize, serialize
from bevformer_lib.pipeline.work import Work
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.run import find_step, note_step, run_step
from bevformer_lib.store.step import Artifact
from tasks.batches import MOST_PARTS
from tests.support.micro import micro_config

MODEL = micro_config()
NEEDS = SceneRequirements.of_model(MODEL)
GRAPH = Artifact("model.onnx", "a" * 64, 1000, made_by="export/00")
SCENE = SceneSource(Artifact("scene-0001", "b" * 64, 5, source="hf://me/it@" + "c" * 40 + "/scenes"), 40)
SETTINGS = Pulsar2Inputs(
    "AX650", {"recipe": "int8"}, Artifact("own.yaml", "d" * 64, 7, source="/own.yaml"), {"memory_limit_gb": 4.5}
)
WORK: tuple[Work, ...] = (
    ExportWork(MODEL, Artifact("checkpoint.pth", "e" * 64, 3, source="/checkpoint.pth"), "AX650"),
    PrevBevWork(SCENE, (0, 3, 17), GRAPH, NEEDS, "cuda:1"),
    ConvertWork(GRAPH, {"calibration_img.tar.gz": GRAPH}, "pulsar2", "cpu", SETTINGS),
    ConvertWork(GRAPH, {"calibration_img.tar.gz": GRAPH}, "onnxruntime", "cpu"),
    PtqWork(GRAPH, {"calibration_img.tar.gz": GRAPH}, ("learn-rounding",), "cuda"),
    EvaluateWork(SCENE, GRAPH, GRAPH, GRAPH, NEEDS, "onnxruntime", "cpu", None, GRAPH),
    RecordWork(SCENE, GRAPH, NEEDS, "cuda"),
    RecordDiagnosisWork((SCENE,), GRAPH, NEEDS, "cpu"),
    EvaluateWork(SCENE, GRAPH, GRAPH, GRAPH, NEEDS, "pulsar2", "cpu", 0.25, GRAPH, Simulator("pulsar2:5.1", "/p")),
    EvaluateWork(SCENE, GRAPH, GRAPH, GRAPH, NEEDS, "axengine", "cpu", 0.25, GRAPH),
    DiagnoseWork((SCENE,), GRAPH, GRAPH, {"calibration_img.tar.gz": GRAPH}, NEEDS, "axengine", "cpu", GRAPH),
    TensorsWork(SCENE, GRAPH, GRAPH, NEEDS, "onnxruntime", "cpu"),
    ExportWork(
        MODEL, Artifact("checkpoint.pth", "e" * 64, 3, source="/c.pth"), "M57", "visible", 3, ("broken:/a/b",), "host"
    ),
)


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.step.title)
def test_a_round_trip_through_json_loses_nothing(work: Work) -> None:
    text = json.dumps(serialize(work), allow_nan=False)
    asked = deserialize(json.loads(text))
    assert asked.work == work
    assert asked.step == work.step
    assert asked.step.key == work.step.key
    assert len(text) * MOST_PARTS < 512 * 1024


def test_an_export_as_it_always_was_is_the_step_that_it_was() -> None:
    plain, asked = WORK[0], WORK[-1]
    assert set(plain.step.parameters) == {"model", "target"}
    assert {"spatial", "cameras_per_query", "waive", "geometry"} <= set(asked.step.parameters)


def test_what_is_not_exactly_right_is_refused() -> None:
    def sent() -> dict:
        return serialize(WORK[0])

    added, wrong, missing, other, unknown = sent(), sent(), sent(), sent(), sent()
    added["work"]["model"]["surprise"] = 1
    wrong["work"]["model"]["bev_h"] = "10"
    del missing["work"]["target"]
    other["kind"] = "evaluate.EvaluateWork"
    unknown["kind"] = "work.Work"
    for content, named in (
        (added, "surprise"),
        (wrong, "bev_h"),
        (missing, "target"),
        (other, r"work\.candidate"),
        (unknown, r"work\.Work is not known"),
        ({}, "kind"),
    ):
        with pytest.raises(SerializationError, match=named):
            deserialize(content)


def test_another_version_of_our_code_is_refused_and_another_package_is_not() -> None:
    content = serialize(WORK[4])
    content["packages"]["numpy"] = "1.0"
    asked = deserialize(content)
    assert asked.step.packages["numpy"] == "1.0"
    assert asked.step.key != WORK[4].step.key
    content["packages"]["bevformer_lib.evaluate"] = "0123456789ab"
    with pytest.raises(SerializationError, match=r"bevformer_lib\.evaluate.*same version"):
        deserialize(content)


def test_only_work_for_pools_is_sent() -> None:
    with pytest.raises(SerializationError, match="check-scenes"):
        serialize(CheckScenesWork((SCENE,), NEEDS))


def test_a_step_done_with_other_versions_is_found_by_who_asked_for_it(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    asked = WORK[4].step
    own = dataclasses.replace(asked, packages={**asked.packages, "numpy": "1.0"})

    def produce(folder: Path) -> dict[str, int]:
        (folder / "evaluation.json").write_text("{}")
        return {}

    result = run_step(store, own, produce)
    assert find_step(store, asked) is None
    note_step(store, asked, result.record)
    found = find_step(store, asked)
    assert found is not None
    assert found.record.identity == result.record.identity
