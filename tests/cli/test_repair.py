from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from tests.export.graphs import model_of, vendor_like_model
from tests.support.commands import bevformer


@pytest.fixture
def given(tmp_path: Path) -> Path:
    onnx.save(vendor_like_model(), tmp_path / "given.onnx")
    return tmp_path / "given.onnx"


def test_it_says_what_was_done(
    given: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert bevformer("repair", given, "--output", given.with_name("repaired.onnx")) == 0
    out = capsys.readouterr().out
    assert "2 (before: 13)" in out and "pass standard_grid_sample" in out
    assert "relative difference" in out and "0 errors" in out
    assert bevformer("lint", given.with_name("repaired.onnx"), "--target", "AX650") == 0


def test_as_json(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("repair", given, "--output", given.with_name("repaired.onnx"), "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["nodes"] == {"before": 13, "after": 2} and content["compared_from"] == ""
    assert content["findings"]["before"]["errors"] > content["findings"]["after"]["errors"] == 0
    assert set(content["relative_differences"]) == {"y"}


def test_shapes_of_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ("n", 3)}, {"y": ("n", 3)})
    onnx.save(model, tmp_path / "given.onnx")
    given = (tmp_path / "given.onnx", "--output", tmp_path / "repaired.onnx", "--input-shape")
    assert bevformer("repair", *given, "x=2x3") == 0
    assert bevformer("repair", *given, "x:2,3") == 1
    assert "give a name and sizes, as in img=1x6x3x480x800" in capsys.readouterr().err


def test_nothing_is_written_over_the_graph_itself(given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = given.read_bytes()
    assert bevformer("repair", given, "--output", given) == 1
    assert given.read_bytes() == before
