from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from benchmarks import gpu
from tests.export.models import micro_base_config
from tests.support.micro import micro_config


@pytest.fixture
def micro_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(micro_config(), name="micro")
    monkeypatch.setattr(gpu, "PRESETS", {"micro": small, "micro_base": micro_base_config()})


@pytest.mark.usefixtures("micro_presets")
def test_tables_of_every_model_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--rounds", "1"])
    printed = capsys.readouterr().out
    assert "| micro, random weights | dense | visible | dense / visible |" in printed
    assert "| micro_base, random weights | dense | visible | dense / visible |" in printed
    assert printed.count("| PyTorch, encoder: latency, ms |") == 2
    assert printed.count("Largest relative difference of any output") == 2


def test_forms_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu.FORMS, "visible", gpu.VisibleCameraSampling(1))
    with pytest.raises(AssertionError, match="the forms differ by"):
        gpu.compare_in_pytorch(micro_config(), torch.device("cpu"), 1)


def test_latency_without_a_gpu_has_no_memory_figure() -> None:
    calls: list[int] = []
    milliseconds, mib = gpu.measure(lambda: calls.append(1), torch.device("cpu"), 2)
    assert milliseconds >= 0
    assert math.isnan(mib)
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("arguments", "message"), [(["huge"], "unknown models huge"), (["tiny", "--device", "cuda"], "no CUDA device")]
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available() and "cuda" in arguments:
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(SystemExit):
        gpu.main(arguments)
    assert message in capsys.readouterr().err
