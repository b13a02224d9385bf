"""A machine that looks like an AXERA board to this process: the stand-in for ``axengine`` on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest

from tests.standins.axmodel_container import write_axmodel

STANDINS = Path(__file__).resolve().parents[1] / "standins"


def be_a_board(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Let ``import axengine`` find the stand-in.

    Args:
        monkeypatch: undoes it.
        settings: what the machine is like, as the stand-in documents it.
    """
    monkeypatch.syspath_prepend(STANDINS)
    for module in [name for name in sys.modules if name.split(".")[0] == "axengine"]:
        monkeypatch.delitem(sys.modules, module)
    for name, value in {"libraries": "ax_engine", **settings}.items():
        monkeypatch.setenv(f"AXENGINE_STANDIN_{name.upper()}", value)


def compile_graph(graph: Path, output: Path, *, target_hardware: str = "AX650", npu_mode: str = "NPU3") -> Path:
    """Put an ONNX graph into a stand-in's `.axmodel`, as it is."""
    return write_axmodel(output, onnx.load(graph), target_hardware=target_hardware, npu_mode=npu_mode)
