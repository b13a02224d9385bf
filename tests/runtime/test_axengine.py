from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.backends.runtimes import open_runtime
from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
from bevformer_lib.runtime.axengine import AxEngineRuntime
from bevformer_lib.runtime.board import LOCK_VARIABLE
from bevformer_lib.runtime.host import HostPreparation
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.types import FrameInputs
from tests.support.board import be_a_board, compile_graph
from tests.support.micro import micro_config
from tests.support.toy_graph import write_toy_graph

MEAN, STD = (
    np.array(values, np.float32).reshape(1, 1, 3, 1, 1)
    for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_graph(tmp_path_factory.mktemp("böard") / "toy.onnx")


@pytest.fixture(scope="module")
def axmodel(toy: Path) -> Path:
    return compile_graph(toy, toy.with_name("compiled.axmodel"))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    be_a_board(monkeypatch)
    return monkeypatch


def _feed(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.RandomState(seed)
    shapes = ((1, 6, 3, 96, 160), (1, 18), (1, 6, 4, 4), (120, 1, 32))
    return {
        name: random.standard_normal(shape).astype(np.float32) for name, shape in zip(INPUT_NAMES, shapes, strict=True)
    }


@pytest.mark.parametrize("libraries", ["ax_engine", "axcl_rt", "ax_engine,axcl_rt"])
def test_gives_by_name_what_onnx_runtime_gives(
    toy: Path, axmodel: Path, monkeypatch: pytest.MonkeyPatch, libraries: str
) -> None:
    be_a_board(monkeypatch, libraries=libraries)
    runtime = open_runtime("axengine", axmodel)
    expected = OnnxRuntime(toy, threads=1)
    assert dict(runtime.inputs) == dict(expected.inputs)
    assert dict(runtime.outputs) == dict(expected.outputs)
    outputs = runtime.run(_feed())
    assert list(outputs) == list(OUTPUT_NAMES)
    for name, array in expected.run(_feed()).items():
        np.testing.assert_array_equal(outputs[name], array)


def test_outputs_in_another_order_keep_their_names(toy: Path, tmp_path: Path, board: pytest.MonkeyPatch) -> None:
    model = onnx.load(toy)
    reordered = [model.graph.output[place] for place in (2, 0, 1)]
    del model.graph.output[:]
    model.graph.output.extend(reordered)
    onnx.save(model, tmp_path / "reordered.onnx")
    outputs = AxEngineRuntime(compile_graph(tmp_path / "reordered.onnx", tmp_path / "reordered.axmodel")).run(_feed())
    for name, array in OnnxRuntime(toy, threads=1).run(_feed()).items():
        np.testing.assert_array_equal(outputs[name], array)


def test_nothing_reaches_standard_output(
    axmodel: Path, board: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "bevformer_lib")
    AxEngineRuntime(axmodel).run(_feed())
    os.write(1, b"ours\n")
    assert capfd.readouterr().out == "ours\n"
    said = caplog.text
    assert "Available providers" in said
    assert "AX_ENGINE_RunSyncV2" in said


def test_bfloat16_inputs(toy: Path, tmp_path: Path, board: pytest.MonkeyPatch) -> None:
    graph = _with_input_cast(toy, tmp_path / "bf16.onnx", "prev_bev", TensorProto.BFLOAT16)
    runtime = AxEngineRuntime(compile_graph(graph, tmp_path / "bf16.axmodel"))
    assert str(runtime.inputs["prev_bev"].dtype) == "bfloat16"
    session, expected = TemporalSession(runtime), TemporalSession(OnnxRuntime(toy, threads=1))
    for position in range(3):
        frame = _frame(position)
        given, wanted = (one.step(frame, first=position == 0).outputs for one in (session, expected))
    np.testing.assert_allclose(given["bev_embed"], wanted["bev_embed"], atol=0.01)
    assert np.abs(given["bev_embed"] - wanted["bev_embed"]).max() > 0


def test_uint8_images_are_fed_as_pixels(toy: Path, tmp_path: Path, board: pytest.MonkeyPatch) -> None:
    graph = _with_pixels(toy, tmp_path / "pixels.onnx")
    runtime = AxEngineRuntime(compile_graph(graph, tmp_path / "pixels.axmodel"))
    assert runtime.inputs["img"].dtype == np.uint8
    pixels = np.random.RandomState(7).randint(0, 256, (1, 6, 3, 96, 160)).astype(np.float32)
    frame = FrameInputs((pixels - MEAN) / STD, _feed()["can_bus"], _feed()["lidar2img"])
    preparation = HostPreparation(micro_config().img_norm)
    given = TemporalSession(runtime, preparation).step(frame, first=True).outputs
    wanted = TemporalSession(OnnxRuntime(toy, threads=1)).step(frame, first=True).outputs
    for name in OUTPUT_NAMES:
        np.testing.assert_allclose(given[name], wanted[name], atol=1e-4)


def test_integers_of_unknown_meaning_are_refused(toy: Path, tmp_path: Path, board: pytest.MonkeyPatch) -> None:
    graph = _with_input_cast(toy, tmp_path / "u16.onnx", "can_bus", TensorProto.UINT16)
    session = TemporalSession(AxEngineRuntime(compile_graph(graph, tmp_path / "u16.axmodel")))
    with pytest.raises(RuntimeUnavailableError, match="takes can_bus as uint16, and nothing says"):
        session.step(_frame(0), first=True)


def test_no_library(axmodel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "axengine", None)
    with pytest.raises(RuntimeUnavailableError, match=r"AXEngine is not installed .*pip install axengine-<version>"):
        AxEngineRuntime(axmodel)


def test_library_without_driver(
    axmodel: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    be_a_board(monkeypatch, libraries="")
    with pytest.raises(RuntimeUnavailableError, match=r"finds no NPU driver \(No providers found.*libax_engine\.so"):
        AxEngineRuntime(axmodel)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("libraries", ["ax_engine", "axcl_rt"])
def test_device_that_does_not_start(axmodel: Path, monkeypatch: pytest.MonkeyPatch, libraries: str) -> None:
    be_a_board(monkeypatch, libraries=libraries, init="fail")
    with pytest.raises(RuntimeUnavailableError, match=r"can't start the NPU \(Failed to initialize"):
        AxEngineRuntime(axmodel)


def test_device_that_fails_at_import(axmodel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "axengine.py").write_text('print("hello")\nraise RuntimeError("Failed to initialize ax sys engine.")\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "axengine", raising=False)
    with pytest.raises(RuntimeUnavailableError, match="can't start the NPU"):
        AxEngineRuntime(axmodel)


def test_library_that_lacks_a_package(axmodel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "axengine.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "axengine", raising=False)
    with pytest.raises(RuntimeUnavailableError, match=r"lacks a package .*bevformer-axera\[edge\]"):
        AxEngineRuntime(axmodel)


def test_model_of_another_chip(axmodel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_a_board(monkeypatch, chip="AX620E")
    with pytest.raises(RuntimeUnavailableError, match=r"can't load it.*compiled for this chip and NPU mode"):
        AxEngineRuntime(axmodel)


def test_model_of_more_cores_than_the_mode_has(axmodel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_a_board(monkeypatch, vnpu="ENABLED")
    with pytest.raises(RuntimeUnavailableError, match="more NPU cores than this board's NPU mode"):
        AxEngineRuntime(axmodel)


@pytest.mark.parametrize("content", [b"", b"not a model at all"])
def test_file_that_is_no_model(tmp_path: Path, board: pytest.MonkeyPatch, content: bytes) -> None:
    path = tmp_path / "bad.axmodel"
    path.write_bytes(content)
    with pytest.raises(RuntimeUnavailableError, match=r"bad\.axmodel: AXEngine can't load it"):
        AxEngineRuntime(path)


def test_missing_file(tmp_path: Path, board: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeUnavailableError, match="no such model file"):
        AxEngineRuntime(tmp_path / "none.axmodel")


@pytest.mark.parametrize("options", [{"device": "cpu"}, {"threads": 2}])
def test_it_has_no_device_and_no_threads(axmodel: Path, board: pytest.MonkeyPatch, options: dict[str, object]) -> None:
    with pytest.raises(RuntimeUnavailableError, match=f"leave --{next(iter(options))} out"):
        open_runtime("axengine", axmodel, **options)  # type: ignore[arg-type]


def test_outputs_outlive_the_next_run(toy: Path, axmodel: Path, board: pytest.MonkeyPatch) -> None:
    runtime, expected = AxEngineRuntime(axmodel), OnnxRuntime(toy, threads=1)
    first = runtime.run(_feed(0))
    runtime.run(_feed(1))
    for name, array in expected.run(_feed(0)).items():
        np.testing.assert_array_equal(first[name], array)


def test_threads_take_turns(toy: Path, axmodel: Path, board: pytest.MonkeyPatch) -> None:
    runtime, expected = AxEngineRuntime(axmodel), OnnxRuntime(toy, threads=1)
    stdout = os.fstat(1)
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(lambda seed: runtime.run(_feed(seed)), range(8)))
    for seed, outputs in enumerate(given):
        for name, array in expected.run(_feed(seed)).items():
            np.testing.assert_array_equal(outputs[name], array)
    assert os.path.samestat(os.fstat(1), stdout)


def test_a_session_ends_before_its_device(tmp_path: Path) -> None:
    library = """
import atexit, os
alive = [True]
def end():
    alive[0] = False
atexit.register(end)
class InferenceSession:
    def __init__(self, path, providers): pass
    def get_inputs(self): return []
    def get_outputs(self): return []
    def __del__(self):
        os.write(2, b"released in time" if alive[0] else b"released too late")
"""
    (tmp_path / "axengine.py").write_text(library)
    (tmp_path / "m.axmodel").write_bytes(b"m")
    program = (
        "import sys; from pathlib import Path; from bevformer_lib.runtime.axengine import AxEngineRuntime; "
        f"sys.kept = AxEngineRuntime(Path({str(tmp_path / 'm.axmodel')!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])}
    environment[LOCK_VARIABLE] = str(tmp_path / "lock")  # the machine's may be another test's
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert ran.stderr == b"released in time"


def test_driver_that_cannot_be_loaded(axmodel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "axengine.py").write_text(
        "class InferenceSession:\n    def __init__(self, path, providers):\n"
        "        raise OSError(\"cannot load library 'libax_sys.so': no such file\")\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "axengine", raising=False)
    with pytest.raises(RuntimeUnavailableError, match=r"can't start the NPU \(cannot load library"):
        AxEngineRuntime(axmodel)


def test_a_failing_npu_is_one_clear_error(axmodel: Path, board: pytest.MonkeyPatch) -> None:
    runtime = AxEngineRuntime(axmodel)
    with pytest.raises(RuntimeUnavailableError, match=r"compiled\.axmodel: the NPU failed \(Required inputs"):
        runtime.run({"img": _feed()["img"]})


def _frame(seed: int) -> FrameInputs:
    feed = _feed(seed)
    return FrameInputs(feed["img"], feed["can_bus"], feed["lidar2img"])


def _with_input_cast(graph: Path, output: Path, name: str, element: int) -> Path:
    """Let the graph take one input in another type and cast it to float by itself."""
    model = onnx.load(graph)
    for node in model.graph.node:
        node.input[:] = [f"{name}.float" if one == name else one for one in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", [name], [f"{name}.float"], to=TensorProto.FLOAT))
    next(one for one in model.graph.input if one.name == name).type.tensor_type.elem_type = element
    onnx.save(model, output)
    return output


def _with_pixels(graph: Path, output: Path) -> Path:
    """Let the graph take uint8 images and normalise them by itself, as a build with mean and std does."""
    model = onnx.load(_with_input_cast(graph, output, "img", TensorProto.UINT8))
    for node in model.graph.node[1:]:
        node.input[:] = ["img.normal" if one == "img.float" else one for one in node.input]
    model.graph.initializer.extend([numpy_helper.from_array(MEAN, "mean"), numpy_helper.from_array(STD, "std")])
    model.graph.node.insert(1, helper.make_node("Sub", ["img.float", "mean"], ["img.centered"]))
    model.graph.node.insert(2, helper.make_node("Div", ["img.centered", "std"], ["img.normal"]))
    onnx.save(model, output)
    return output
