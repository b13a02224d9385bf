from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.runtimes import open_runtime
from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.support.toy_graph import write_toy_graph


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_graph(tmp_path_factory.mktemp("wörk dir") / "toy.onnx")


def _feed(runtime: OnnxRuntime, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.RandomState(seed)
    return {name: random.standard_normal(s.shape).astype(s.dtype) for name, s in runtime.inputs.items()}


def test_interface_is_read_from_the_file(toy: Path) -> None:
    runtime = OnnxRuntime(toy)
    assert tuple(runtime.inputs) == INPUT_NAMES
    assert tuple(runtime.outputs) == OUTPUT_NAMES
    assert runtime.inputs["img"].shape == (1, 6, 3, 96, 160)
    assert runtime.inputs["prev_bev"].shape == (120, 1, 32)
    assert runtime.outputs["outputs_coords"].shape == (2, 1, 30, 10)
    assert runtime.outputs["bev_embed"].dtype == np.float32


def test_same_feed_gives_same_bytes(toy: Path) -> None:
    first, second = OnnxRuntime(toy, threads=1), OnnxRuntime(toy, threads=1)
    feed = _feed(first)
    one, two = first.run(feed), second.run(feed)
    assert {name: array.tobytes() for name, array in one.items()} == {n: a.tobytes() for n, a in two.items()}


def test_open_runtime_gives_it_by_name(toy: Path) -> None:
    assert tuple(open_runtime("onnxruntime", toy).inputs) == INPUT_NAMES
    with pytest.raises(RuntimeUnavailableError, match="runtime 'tflite' is not known; use one of: onnxruntime"):
        open_runtime("tflite", toy)


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "cpu:0", ""])
def test_unknown_device(toy: Path, device: str) -> None:
    with pytest.raises(RuntimeUnavailableError, match="is not known; use 'cpu', 'cuda' or 'cuda:N'"):
        OnnxRuntime(toy, device=device)


def test_missing_provider_says_what_to_install(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(RuntimeUnavailableError, match=r"no CUDAExecutionProvider .*pip install onnxruntime-gpu"):
        OnnxRuntime(toy, device="cuda:1")


def test_provider_that_falls_back_is_an_error(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    with pytest.warns(UserWarning), pytest.raises(RuntimeUnavailableError, match="did not start"):
        OnnxRuntime(toy, device="cuda")


def test_missing_package_says_what_to_install(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install bevformer-axera\[cpu\]"):
        OnnxRuntime(toy)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"none\.onnx: no such model file"):
        OnnxRuntime(tmp_path / "none.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model at all"])
def test_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(
        RuntimeUnavailableError, match=r"bad\.onnx: (holds no ONNX graph|can't be read as an ONNX model)"
    ):
        OnnxRuntime(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "holds NaN"), (np.inf, "holds infinity"), (-np.inf, "holds infinity"), (None, "is given twice")],
)
def test_weights_that_compute_nothing_are_refused(toy: Path, tmp_path: Path, value: float | None, said: str) -> None:
    model = onnx.load(toy)
    weights = {
        name for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm") for name in node.input[1:]
    }
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name in weights)
    if value is None:
        model.graph.initializer.append(tensor)
    else:
        values = onnx.numpy_helper.to_array(tensor).copy()
        values.flat[0] = value
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path = tmp_path / "bad.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RuntimeUnavailableError, match=rf"bad\.onnx: its initializer '.*' {said}"):
        OnnxRuntime(path)


def test_dynamic_shapes_are_refused(toy: Path, tmp_path: Path) -> None:
    model = onnx.load(toy)
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "batch"
    path = tmp_path / "dynamic.onnx"
    onnx.save(model, path)
    with pytest.raises(RuntimeUnavailableError, match=r"dynamic\.onnx: 'can_bus' has the dynamic shape"):
        OnnxRuntime(path)


@pytest.mark.parametrize(("said", "asked", "threads"), [("1", None, 1), ("2,1", None, 2), ("x", None, 0), ("1", 2, 2)])
def test_threads_are_those_of_the_environment_where_none_are_asked_for(
    toy: Path, monkeypatch: pytest.MonkeyPatch, said: str, asked: int | None, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    session = OnnxRuntime(toy, threads=asked)._session
    assert session.get_session_options().intra_op_num_threads == threads  # 0: its own choice


def test_threads_must_be_positive(toy: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="threads is 0"):
        OnnxRuntime(toy, threads=0)
