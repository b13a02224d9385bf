"""`bevformer score` on what `bevformer infer` writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit is not installed; make test installs it")

from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from bevformer_lib.detections.detections_folder import detections_of_scenes, read_detections
from bevformer_lib.detections.infer_records import DETECTIONS_FILE, frame_record, scene_record
from bevformer_lib.files import write_json
from bevformer_lib.metrics.metric_types import REFERENCE_MODEL, DetectionMetrics
from bevformer_lib.plain_data import from_plain
from bevformer_lib.scenes.types import Scene
from tests.support.commands import bevformer
from tests.support.detections import spoilt_scenes
from tests.support.micro import CLASS_NAMES, micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import write_toy_graph


@pytest.fixture(scope="module")
def detections(scenes: tuple[Scene, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detections")
    made_with = {"model_sha256": "0" * 64, "score_threshold": 0.0}
    for scene in scenes:
        found = spoilt_scenes([scene])[scene.name]
        frames = [frame_record(*pair, CLASS_NAMES) for pair in zip(scene.frames, found, strict=True)]
        write_json(folder / scene.name / DETECTIONS_FILE, scene_record(scene, made_with, CLASS_NAMES, frames))
    return folder


def test_detections_survive_the_folder(detections: Path, scenes: tuple[Scene, ...]) -> None:
    read = detections_of_scenes(read_detections(detections), scenes)
    for scene in scenes:
        for ours, given in zip(read[scene.name], spoilt_scenes([scene])[scene.name], strict=True):
            assert ours.to_dict() == given.to_dict()


def test_both_ways(
    detections: Path, extracted: Path, nuscenes_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bevformer("score", detections, extracted, "--output", tmp_path / "metas.json") == 0
    shown = capsys.readouterr().out
    for said in ("NDS", "against annotations", "construction_vehicle", "0 to 20 m", "8 frames of 2 scenes scored"):
        assert said in shown
    official = ["--nuscenes-root", nuscenes_root, "--version", "v1.0-mini", "--split", "mini_val"]
    official += ["--results", tmp_path / "results.json", "--output", tmp_path / "official.json"]
    assert bevformer("score", detections, extracted, *official) == 0
    ours, theirs = (
        from_plain(DetectionMetrics, json.loads((tmp_path / name).read_text()))
        for name in ("metas.json", "official.json")
    )
    assert ours.nds == pytest.approx(theirs.nds, abs=1e-9)
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["results"]) == 8
    assert [name for name, used in results["meta"].items() if used] == ["use_camera", "use_external"]
    assert "results.json: says use_camera, use_external; options change that" in "".join(
        capsys.readouterr().out.split("\n")
    )
    official[-3:] = [tmp_path / "other.json", "--output", tmp_path / "again.json", "--use-map", "--no-use-external"]
    assert bevformer("score", detections, extracted, *official) == 0
    results = json.loads((tmp_path / "other.json").read_text())
    assert [name for name, used in results["meta"].items() if used] == ["use_camera", "use_map"]
    assert bevformer("score", detections, extracted, "--output", tmp_path / "metas.json") == 1
    assert "exists already" in capsys.readouterr().err


def test_after_infer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing between the two commands; images are not needed for scoring, scenes without truth need a reference."""
    write_toy_graph(tmp_path / "toy.onnx")
    write_inference_config(inference_config_of(micro_config()), tmp_path / "inference_config.json")
    scenes = write_scenes(tmp_path / "scenes", frames_per_scene=2)
    infer = ["infer", tmp_path / "toy.onnx", tmp_path / "inference_config.json", scenes, "--no-images", "--no-video"]
    assert bevformer(*infer, "--score-thr", "0", "--output-dir", tmp_path / "all") == 0
    assert bevformer(*infer, "--score-thr", "0.6", "--output-dir", tmp_path / "some") == 0
    for image in scenes.rglob("*.png"):
        image.unlink()
    capsys.readouterr()
    assert bevformer("score", tmp_path / "some", scenes, "--output", tmp_path / "some.json") == 0
    assert "boxes with a score of 0.6 or less were not written" in capsys.readouterr().out
    assert json.loads((tmp_path / "some.json").read_text())["frames"] == 4

    for path in scenes.rglob("meta_*.json"):
        meta = json.loads(path.read_text())
        del meta["gt_boxes"]
        path.write_text(json.dumps(meta))
    assert bevformer("score", tmp_path / "all", scenes, "--output", tmp_path / "none.json") == 1
    assert "no frame of these scenes has annotations" in capsys.readouterr().err
    proxy = ["--reference", tmp_path / "all", "--reference-score-thr", "0.6", "--output", tmp_path / "proxy.json"]
    assert bevformer("score", tmp_path / "all", scenes, *proxy) == 0
    assert "a proxy" in " ".join(capsys.readouterr().out.split())
    assert json.loads((tmp_path / "proxy.json").read_text())["truth"] == REFERENCE_MODEL


def test_what_cannot_be_scored(
    detections: Path,
    extracted: Path,
    nuscenes_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(said: str, folder: Path, *options: object) -> None:
        assert bevformer("score", folder, extracted, "--output", tmp_path / "no.json", *map(str, options)) == 1
        assert said in capsys.readouterr().err
        assert not (tmp_path / "no.json").exists()

    fails("holds no detections.json of a scene", tmp_path)
    fails("give --nuscenes-root", detections, "--split", "mini_val")
    fails("leave it or --nuscenes-root out", detections, "--nuscenes-root", nuscenes_root, "--reference", detections)

    part = tmp_path / "part"
    shutil.copytree(detections / "scene-0103", part / "scene-0103")
    fails("the detections lack 4 samples", part, "--nuscenes-root", nuscenes_root, "--split", "mini_val")
    other = tmp_path / "other"
    shutil.copytree(detections, other)
    path = other / "scene-0916" / DETECTIONS_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"made_with": {"model_sha256": "1" * 64, "score_threshold": 0.0}}))
    fails("come from different runs (model_sha256 differ)", other)
    path.write_text(json.dumps(content | {"frames": content["frames"][1:]}))
    fails("has no detections of frame 0", other)
    del content["frames"][0]["boxes"]
    path.write_text(json.dumps(content))
    fails("is not what 'bevformer infer' writes (KeyError('boxes'))", other)
    path.write_text("[]")
    fails("must hold a JSON object", other)
