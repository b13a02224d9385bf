from __future__ import annotations

import importlib
import sys
from importlib import metadata
from pathlib import Path

import pytest

from bevformer_lib.doctor import devices
from bevformer_lib.doctor.devices import check_axengine, check_gpu, check_onnxruntime
from bevformer_lib.doctor.finding import Status
from bevformer_lib.doctor.tools import check_docker, check_pulsar2
from bevformer_lib.runtime.board import LOCK_VARIABLE, take_board
from tests.support.board import be_a_board


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make the search path hold one program, which prints to stdout and stderr and ends with a status."""
    for name in ("BEVFORMER_PULSAR2", "BEVFORMER_PULSAR2_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, out: str = "", error: str = "", status: int = 0) -> None:
        program = folder / name
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{out}'\nprintf '%s\\n' '{error}' >&2\nexit {status}\n")
        program.chmod(0o755)

    return put


def test_onnxruntime_on_this_machine() -> None:
    assert check_onnxruntime(cuda=False).status is Status.OK


def test_onnxruntime_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    finding = check_onnxruntime(cuda=True)
    assert finding.status is Status.FAIL and "no CUDAExecutionProvider" in finding.found


def test_cuda_that_is_listed_but_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    finding = check_onnxruntime(cuda=True)
    assert finding.status is Status.FAIL and "but " in finding.found and "did not start" in finding.found


def test_both_onnxruntimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    finding = check_onnxruntime(cuda=True)
    assert finding.status is Status.FAIL and "both installed" in finding.found


def test_no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.util, "find_spec", lambda name: None)
    finding = check_onnxruntime(cuda=False)
    assert finding.status is Status.FAIL and finding.fix == "pip install 'bevformer-axera[cpu]'"


def test_a_gpu(on_path) -> None:
    assert check_gpu().status is Status.FAIL
    on_path("nvidia-smi", "NVIDIA Made Up, 24564 MiB, 550.54")
    finding = check_gpu()
    assert finding.status is Status.OK and finding.found == "NVIDIA Made Up, 24564 MiB, 550.54"


@pytest.mark.parametrize("status", [0, 9])
def test_a_driver_without_a_gpu(on_path, status: int) -> None:
    on_path("nvidia-smi", "" if status == 0 else "couldnt communicate with the NVIDIA driver", status=status)
    finding = check_gpu()
    assert finding.status is Status.FAIL


def test_docker(on_path) -> None:
    assert check_docker().found == "not found"
    on_path("docker", "28.2.2")
    assert check_docker().status is Status.OK


@pytest.mark.parametrize(
    ("error", "fix"),
    [
        ("permission denied while trying to connect to the docker API", "--groups docker"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock", "systemctl enable --now docker"),
        ("", "systemctl enable --now docker"),
    ],
)
def test_docker_that_does_not_work(on_path, error: str, fix: str) -> None:
    on_path("docker", error=error, status=1)
    finding = check_docker()
    assert finding.status is Status.FAIL and fix in finding.fix


def test_pulsar2(on_path) -> None:
    finding = check_pulsar2()
    assert finding.status is Status.FAIL and "docker load" in finding.fix
    on_path("pulsar2", "version: 4.2")
    finding = check_pulsar2()
    assert finding.status is Status.OK and finding.found.startswith("4.2 (native: ")


def test_axengine_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "axengine", None)  # as if it was not installed, whatever was imported before
    finding = check_axengine()
    assert finding.status is Status.FAIL and "pyaxengine/releases" in finding.fix


@pytest.mark.parametrize("name", ["axengine.py", "axengine/data.bin", "axengine/__init__.py"])
def test_something_else_of_that_name_starts_no_npu(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    monkeypatch.delitem(sys.modules, "axengine", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    finding = check_axengine()
    sys.modules.pop("axengine", None)
    assert finding.status is Status.FAIL
    assert f"{tmp_path}/axengine" in finding.found and "is not AXEngine" in finding.found
    assert "pyaxengine/releases" in finding.fix


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        ({}, Status.OK, "starts the NPU: board, AxEngineExecutionProvider"),
        ({"libraries": "axcl_rt"}, Status.OK, "starts the NPU: card:0, AXCLRTExecutionProvider"),
        ({"libraries": ""}, Status.FAIL, "finds no NPU driver"),
        ({"init": "fail"}, Status.FAIL, "can't start the NPU (Failed to initialize ax sys.)"),
        ({"missing": "ax_sys"}, Status.FAIL, "a part of its driver is missing"),
        ({"libraries": "axcl_rt", "cards": "0"}, Status.FAIL, "find total 0 device"),
    ],
)
def test_axengine(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    settings: dict[str, str],
    status: Status,
    said: str,
) -> None:
    be_a_board(monkeypatch, **settings)
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    finding = check_axengine()
    assert finding.status is status and said in finding.found
    assert bool(finding.fix) == (status is Status.FAIL)
    assert capfd.readouterr() == ("", "")


def test_an_npu_that_is_in_use_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    be_a_board(monkeypatch, init="fail")
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    give_back = take_board()
    finding = check_axengine()
    give_back()
    assert finding.status is Status.WARN and "board not tried: in use by process" in finding.found


def test_the_card_that_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    be_a_board(monkeypatch, libraries="ax_engine,axcl_rt", cards="2")
    monkeypatch.setenv(LOCK_VARIABLE, str(tmp_path / "lock"))
    assert "card:1" in check_axengine("card:1").found
    assert "--npu" in check_axengine("card:2").fix
