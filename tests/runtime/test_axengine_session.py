"""What a model holds on an NPU is free again when it is let go of, whether it was loaded or not."""

from __future__ import annotations

import gc
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.runtime import board
from bevformer_lib.runtime.axengine import AxEngineRuntime, Npu, start_npu
from bevformer_lib.runtime.board import LOCK_VARIABLE, board_user, lock_path
from tests.support.board import be_a_board, compile_graph

KINDS = ("ax_engine", "axcl_rt")


@pytest.fixture(scope="module")
def axmodel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _small_model(tmp_path_factory.mktemp("böard") / "small.axmodel", TensorProto.FLOAT)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "board.lock"))


@pytest.mark.parametrize("libraries", KINDS)
def test_a_third_model_fits_where_two_fit(axmodel: Path, monkeypatch: pytest.MonkeyPatch, libraries: str) -> None:
    be_a_board(monkeypatch, libraries=libraries)
    first = AxEngineRuntime(axmodel)
    each = _used()
    monkeypatch.setenv("AXENGINE_STANDIN_MEMORY", str(2 * each + 100))
    second = AxEngineRuntime(axmodel)
    with pytest.raises(RuntimeUnavailableError, match=r"memory does not hold it too|does not say why"):
        AxEngineRuntime(axmodel)
    assert _used() == 2 * each, "what could not be loaded left something there"
    del first
    gc.collect()
    assert _used() == each
    third = AxEngineRuntime(axmodel)
    assert _used() == 2 * each
    second.close()
    third.close()
    third.close()
    assert _used() == 0
    with pytest.raises(RuntimeUnavailableError, match="was closed"):
        third.run({})


@pytest.mark.parametrize("libraries", KINDS)
@pytest.mark.parametrize("fits", [200, 1200])
def test_what_does_not_fit_leaves_nothing_behind(
    axmodel: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], libraries: str, fits: int
) -> None:
    be_a_board(monkeypatch, libraries=libraries, memory=str(axmodel.stat().st_size + fits))
    with pytest.raises(RuntimeUnavailableError, match=r"small\.axmodel: the NPU's memory does not hold it too"):
        AxEngineRuntime(axmodel)
    gc.collect()
    assert _used() == 0
    assert capfd.readouterr() == ("", ""), "destructors that raise"
    assert board_user() is None


@pytest.mark.parametrize("libraries", KINDS)
def test_a_model_may_be_let_go_of_by_another_thread(
    axmodel: Path, monkeypatch: pytest.MonkeyPatch, libraries: str
) -> None:
    be_a_board(monkeypatch, libraries=libraries)
    with ThreadPoolExecutor(1) as pool:
        runtime = pool.submit(AxEngineRuntime, axmodel).result()
    runtime.close()
    assert _used() == 0


@pytest.mark.parametrize("libraries", KINDS)
def test_float16_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: str) -> None:
    be_a_board(monkeypatch, libraries=libraries)
    model = _small_model(tmp_path / "half.axmodel", TensorProto.FLOAT16)
    with pytest.raises(RuntimeUnavailableError, match=r"half\.axmodel: .* float16 is none of them.*float32 inputs"):
        AxEngineRuntime(model)
    assert _used() == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"missing": "ax_sys"}, "a part of its driver is missing; .*libax_sys.so"),
        ({"libraries": "axcl_rt", "missing": "axcl_rt"}, "a part of its driver is missing"),
        ({"init": "vnpu"}, r"can't start the NPU \(Failed to get VNPU attribute"),
        ({"libraries": "axcl_rt", "init": "vnpu"}, r"can't start the NPU \(Failed to get VNPU attribute"),
        ({"libraries": "axcl_rt", "init": "busy"}, "no other program holds it"),
        ({"libraries": "axcl_rt", "cards": "0"}, "find total 0 device.*axcl-smi"),
        ({"bsp": "ancient"}, "driver is older than AXEngine needs; update"),
    ],
)
def test_what_an_npu_does_not_start_with(
    axmodel: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    settings: dict[str, str],
    said: str,
) -> None:
    be_a_board(monkeypatch, **settings)
    with pytest.raises(RuntimeUnavailableError, match=said):
        AxEngineRuntime(axmodel)
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_an_old_driver_knows_no_bfloat16(axmodel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_a_board(monkeypatch, bsp="old")
    AxEngineRuntime(axmodel).close()
    model = _small_model(tmp_path / "brain.axmodel", TensorProto.BFLOAT16)
    with pytest.raises(RuntimeUnavailableError, match=r"older than AXEngine needs for bfloat16.*SDK 2\.18"):
        AxEngineRuntime(model)


def test_board_or_card_and_which_card(axmodel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_a_board(monkeypatch, libraries="ax_engine,axcl_rt", cards="2")
    monkeypatch.delenv(LOCK_VARIABLE)
    for folder in ("_RUN_LOCK", "_TEMPORARY"):  # the machine's own may be taken by another test
        monkeypatch.setattr(board, folder, tmp_path)
    for asked, name, device in (
        (None, "board", None),
        ("board", "board", None),
        ("card", "card:0", 0),
        ("card:1",) * 2 + (1,),
    ):
        runtime = AxEngineRuntime(axmodel, asked)
        assert runtime.npu.name == name
        assert getattr(runtime._session._session._sess, "device_index", None) == device  # type: ignore[union-attr]
        assert board_user(name) is not None and board_user("card:7") is None, "each NPU has its own lock"
        runtime.close()
    assert lock_path("card:1") != lock_path("card:0") != lock_path()
    with pytest.raises(RuntimeUnavailableError, match="Device index 2 is out of range"):
        AxEngineRuntime(axmodel, "card:2")


def test_an_npu_without_a_driver_is_refused(axmodel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_a_board(monkeypatch, libraries="axcl_rt")
    with pytest.raises(RuntimeUnavailableError, match=r"--npu board: .*libax_engine\.so.*leave --npu out"):
        AxEngineRuntime(axmodel, "board")
    assert AxEngineRuntime(axmodel).npu.name == "card:0"
    with pytest.raises(RuntimeUnavailableError, match="npu 'gpu' is not known"):
        Npu.chosen(importlib.import_module("axengine"), "gpu")


@pytest.mark.parametrize("libraries", KINDS)
def test_an_npu_can_be_started_without_a_model(monkeypatch: pytest.MonkeyPatch, libraries: str) -> None:
    be_a_board(monkeypatch, libraries=libraries)
    assert start_npu().name == ("board" if libraries == "ax_engine" else "card:0")
    be_a_board(monkeypatch, libraries=libraries, init="fail")
    with pytest.raises(RuntimeUnavailableError, match="Failed to initialize"):
        start_npu()


def _used() -> int:
    return int(sys.modules["axengine._machine"].memory.used)


def _small_model(path: Path, element: int) -> Path:
    """Compile a graph that passes three tensors of 400 or 200 bytes on."""
    names = ("a", "b", "c")
    values = [
        [onnx.helper.make_tensor_value_info(f"{name}{end}", element, [1, 100]) for name in names]
        for end in ("", ".out")
    ]
    nodes = [onnx.helper.make_node("Identity", [name], [f"{name}.out"]) for name in names]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", *values), opset_imports=[onnx.helper.make_opsetid("", 16)], ir_version=8
    )
    onnx.save(model, path.with_suffix(".onnx"))
    return compile_graph(path.with_suffix(".onnx"), path)
