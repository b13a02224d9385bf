"""Builds that are made worse on purpose: the gates that come along stop each, and name its cause."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.convert.base import METADATA_PREFIX, Conversion
from bevformer_lib.convert.onnxruntime import OnnxRuntimeConverter
from bevformer_lib.errors import GateError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.pipeline import calibrate, convert
from bevformer_lib.pipeline.gates import read_verdict, require_gates
from bevformer_lib.pipeline.publish import publish_build
from bevformer_lib.store.aliases import get_alias
from bevformer_lib.store.folder import FolderStore
from flows.chain import BuildResult
from tests.flows.test_chain import build
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes

ORDER = [0, 2, 1, 3, 5, 4]
"""Left and right cameras exchanged."""
MEAN, STD = (
    np.array(values, np.float32).reshape(1, 1, 3, 1, 1)
    for values in (micro_config().img_norm.mean, micro_config().img_norm.std)
)
Fault = Callable[[onnx.ModelProto, Path], None]


class FaultyConverter(OnnxRuntimeConverter):
    """The embedded quantiser, with a fault in the graph before or after it."""

    def __init__(self, *, before: Fault | None, after: Fault | None, calibration: Path | None) -> None:
        super().__init__()
        self._before, self._after, self._calibration = before, after, calibration

    def convert(self, model: Path, calibration: Path, output: Path, **options: Any) -> Conversion:
        source = output.with_name("faulty.onnx") if self._before else model
        if self._before:
            graph = onnx.load(str(model))
            self._before(graph, calibration)
            onnx.save(graph, str(source))
        conversion = super().convert(source, self._calibration or calibration, output, **options)
        made = onnx.load(str(output))
        if self._after:
            self._after(made, calibration)
        for entry in made.metadata_props:  # the graph is all that went wrong
            if entry.key == f"{METADATA_PREFIX}float_model_sha256":
                entry.value = sha256_of_file(model)
        onnx.save(made, str(output))
        if self._before:
            source.unlink()
        return conversion


def put_before(graph: onnx.ModelProto, name: str, *steps: tuple[str, np.ndarray[Any, Any], dict[str, int]]) -> None:
    """Let an input pass nodes, each with a constant, before everything that reads it."""
    nodes, value = [], name
    for number, (op, constant, attributes) in enumerate(steps):
        graph.graph.initializer.append(numpy_helper.from_array(constant, f"{name}.constant{number}"))
        nodes.append(helper.make_node(op, [value, f"{name}.constant{number}"], [f"{name}.{number}"], **attributes))
        value = f"{name}.{number}"
    for node in graph.graph.node:
        node.input[:] = [value if read == name else read for read in node.input]
    whole = [*nodes, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(whole)


def exchange_cameras(graph: onnx.ModelProto, _: Path) -> None:
    put_before(graph, "img", ("Gather", np.array(ORDER), {"axis": 1}))


def lose_camera(graph: onnx.ModelProto, _: Path) -> None:
    """Let the camera at the back show nothing but the mean colour."""
    kept = np.ones((1, 6, 1, 1, 1), np.float32)
    kept[:, 3] = 0.0
    put_before(graph, "img", ("Mul", kept, {}))


def exchange_colors(graph: onnx.ModelProto, _: Path) -> None:
    put_before(graph, "img", ("Gather", np.array([2, 1, 0]), {"axis": 2}))


def scale_to_one(graph: onnx.ModelProto, _: Path) -> None:
    """Feed pixels from 0 to 1 instead of normalised ones."""
    put_before(graph, "img", ("Mul", STD / 255, {}), ("Add", MEAN / 255, {}))


def caffe_mean(graph: onnx.ModelProto, _: Path) -> None:
    """Feed what a config of BEVFormer-Base would make of the images."""
    to_bgr = ("Gather", np.array([2, 1, 0]), {"axis": 2})
    put_before(graph, "img", ("Mul", STD, {}), ("Add", MEAN, {}), to_bgr, ("Sub", MEAN[:, :, ::-1].copy(), {}))


def freeze_can_bus(graph: onnx.ModelProto, calibration: Path) -> None:
    """Leave the values of one frame in the graph, as `.detach().numpy()` in a traced forward does."""
    [frozen] = [sample["can_bus"] for number, sample in enumerate(read_calibration(calibration)) if number == 0]
    put_before(graph, "can_bus", ("Mul", np.zeros((1, 18), np.float32), {}), ("Add", frozen, {}))


def freeze_motion(graph: onnx.ModelProto, _: Path) -> None:
    """Leave out what moves the history, and nothing else."""
    kept = np.ones((1, 18), np.float32)
    kept[:, [0, 1, 2, 17]] = 0.0
    put_before(graph, "can_bus", ("Mul", kept, {}))


def forget_history(graph: onnx.ModelProto, _: Path) -> None:
    put_before(graph, "prev_bev", ("Mul", np.zeros(1, np.float32), {}))


@pytest.fixture(scope="module")
def good(micro_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderStore, BuildResult]:
    """A store with a good build that is published."""
    store = FolderStore(tmp_path_factory.mktemp("good") / "store")
    result = build(micro_inputs, store)
    require_gates(store, result.build, report="")
    publish_build(store, result.build)
    return store, result


@pytest.fixture
def rebuild(
    good: tuple[FolderStore, BuildResult], micro_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[FolderStore, BuildResult]]]:
    """Build again in a copy of the store, with a fault in the conversion."""

    def again(
        *, before: Fault | None = None, after: Fault | None = None, calibration: Path | None = None
    ) -> tuple[FolderStore, BuildResult]:
        store = FolderStore(Path(shutil.copytree(good[0].root, tmp_path / "store")))
        for key in store.list_records("convert"):
            store.remove_record("convert", key)
        faulty = FaultyConverter(before=before, after=after, calibration=calibration)
        monkeypatch.setattr(convert, "open_converter", lambda *_, **__: faulty)
        return store, build(micro_inputs, store)

    yield again


def diagnosed(store: FolderStore, result: BuildResult) -> dict[str, GateResult]:
    """The causes that the gates name; the build is stopped, kept, and not published."""
    verdict = read_verdict(store, result.build)
    published = get_alias(store, "latest")
    with pytest.raises(GateError) as raised:
        publish_build(store, result.build)
    assert verdict.failed[0].name in str(raised.value)
    assert get_alias(store, "latest") == published
    assert "Not good enough to publish" in (store.get_object(result.build.outputs["report.html"].sha256)).read_text()
    return causes(verdict)


def causes(verdict: Verdict) -> dict[str, GateResult]:
    return {one.name.split(".")[1]: one for one in verdict.failed if one.name.startswith("diagnosis.")}


def test_a_good_build_passes_and_is_compared_with_the_published_one(
    good: tuple[FolderStore, BuildResult], rebuild: Callable[..., tuple[FolderStore, BuildResult]]
) -> None:
    first = read_verdict(good[0], good[1].build)
    assert not first.failed
    assert {one.reason for one in first.results if "baseline" in one.rule and one.value is not None} == {
        "there is no published build to compare with yet"
    }
    store, result = rebuild(after=lambda graph, _: graph.metadata_props.add(key="again", value="1"))
    second = read_verdict(store, result.build)
    assert not second.failed
    assert second.baseline == good[1].build.identity
    [compared] = [one for one in second.results if one.name == "fidelity.bev_embed.cosine" and "baseline" in one.rule]
    assert compared.passed
    assert compared.baseline == pytest.approx(compared.value)


def test_a_projection_in_eight_bits_is_named_first(micro_inputs: Path, tmp_path: Path) -> None:
    """Whatever else it breaks: the compiled model answers to no calibration, and a cosine may still be fine."""
    store = FolderStore(tmp_path / "store")
    result = build(micro_inputs, store, converter="emulator", geometry="graph", pulsar2={"recipe": "int8"})
    first = read_verdict(store, result.build).failed[0]
    assert first.name == "rounding.projection_step"
    assert "/projection/" in first.reason and "U8" in first.reason
    with pytest.raises(GateError, match="--geometry host"):
        require_gates(store, result.build, report="")


def test_shuffled_cameras(rebuild: Callable[..., tuple[FolderStore, BuildResult]]) -> None:
    found = diagnosed(*rebuild(after=exchange_cameras))
    assert found.keys() == {"cameras_misplaced"}
    assert found["cameras_misplaced"].value == 4
    assert "CAM_FRONT_RIGHT is taken for CAM_FRONT_LEFT" in found["cameras_misplaced"].reason


def test_a_lost_camera(rebuild: Callable[..., tuple[FolderStore, BuildResult]]) -> None:
    found = diagnosed(*rebuild(after=lose_camera))
    assert found.keys() == {"cameras_lost"}
    assert found["cameras_lost"].reason == "CAM_BACK does not reach the compiled model"


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (scale_to_one, None, "as 0 to 1"),
        (None, scale_to_one, "as 0 to 1"),
        (exchange_colors, None, "red and blue exchanged"),
        (caffe_mean, None, "caffe's BGR"),
        (None, caffe_mean, "caffe's BGR"),
    ],
)
def test_wrong_normalization(
    rebuild: Callable[..., tuple[FolderStore, BuildResult]], before: Fault | None, after: Fault | None, words: str
) -> None:
    found = diagnosed(*rebuild(before=before, after=after))
    assert found.keys() == {"normalization_wrong"}
    assert words in found["normalization_wrong"].reason


@pytest.mark.parametrize("freeze", [freeze_can_bus, freeze_motion])
def test_frozen_ego_motion(rebuild: Callable[..., tuple[FolderStore, BuildResult]], freeze: Fault) -> None:
    found = diagnosed(*rebuild(after=freeze))
    assert found.keys() == {"ego_motion"}
    assert found["ego_motion"].value == pytest.approx(0.0, abs=0.1)  # the host's history grid still moves


def test_lost_prev_bev(rebuild: Callable[..., tuple[FolderStore, BuildResult]]) -> None:
    found = diagnosed(*rebuild(after=forget_history))
    assert "prev_bev" in found


def test_swapped_calibration_set(
    rebuild: Callable[..., tuple[FolderStore, BuildResult]],
    good: tuple[FolderStore, BuildResult],
    inputs: Path,
    tmp_path: Path,
) -> None:
    other = FolderStore(tmp_path / "other")
    shutil.rmtree(inputs / "scenes")
    write_scenes(inputs / "scenes", num_scenes=2, frames_per_scene=4, seed=7)
    foreign = build(inputs, other).build.outputs
    folder = tmp_path / "foreign"
    folder.mkdir()
    for path, artifact in foreign.items():
        if path.startswith("calibration/"):
            shutil.copyfile(other.get_object(artifact.sha256), folder / Path(path).name)
    found = diagnosed(*rebuild(calibration=folder))
    assert found.keys() == {"calibration_foreign"}
    assert "calibrated with another set" in found["calibration_foreign"].reason


@pytest.mark.parametrize("fault", ["normalization", "cameras", "images"])
def test_a_calibration_set_that_was_fed_otherwise(
    good: tuple[FolderStore, BuildResult],
    micro_inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    store = FolderStore(Path(shutil.copytree(good[0].root, tmp_path / "store")))
    for key in store.list_records("calibration"):
        store.remove_record("calibration", key)
    whole = calibrate.samples_from_scenes

    def faulty(*arguments: Any) -> Iterator[Any]:
        for sample in whole(*arguments):
            img = sample.arrays["img"]
            changed = {"normalization": img * 2 + 1, "cameras": img[:, ORDER], "images": img[..., ::-1]}[fault]
            yield type(sample)(
                sample.planned, sample.frame_index, {**sample.arrays, "img": np.ascontiguousarray(changed)}
            )

    monkeypatch.setattr(calibrate, "samples_from_scenes", faulty)
    found = diagnosed(store, build(micro_inputs, store))
    words = {
        "normalization": "images are normalised otherwise",
        "cameras": "cameras are in another order",
        "images": "images are not those of the frame",
    }
    assert words[fault] in found["calibration_foreign"].reason
