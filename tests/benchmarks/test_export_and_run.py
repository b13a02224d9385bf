from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import export_and_run as benchmark
from bevformer_lib.model.checkpoint import make_checkpoint
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_LIDAR2IMG, INPUT_PREV_BEV
from tests.export.models import micro_base_config

ARGUMENTS = Namespace(rounds=1, threads=1, device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("benchmark")
    make_checkpoint(micro_base_config(), found / "weights.pth", seed=0)
    for form in benchmark.FORMS:
        figures = benchmark.stage_export(micro_base_config(), form, found, ARGUMENTS)
        assert figures["export: all, s"] > figures["export: parity check, s"] > 0
    return found


def test_the_encoder_is_cut_out_at_the_named_tensors(folder: Path) -> None:
    encoder = onnx.load(str(folder / "visible_encoder.onnx"))
    levels = {f"fpn.level{level}" for level in range(4)}
    assert {value.name for value in encoder.graph.input} == {*levels, INPUT_CAN_BUS, INPUT_LIDAR2IMG, INPUT_PREV_BEV}
    assert [value.name for value in encoder.graph.output] == ["encoder.layer1"]
    whole = onnx.load(str(folder / "visible.onnx"))
    assert 0.2 < len(encoder.graph.node) / len(whole.graph.node) < 0.8


@pytest.mark.parametrize("part", ["", "_encoder"])
def test_both_forms_are_timed_and_give_the_same(folder: Path, part: str) -> None:
    figures = benchmark.stage_latency(micro_base_config(), part, folder, ARGUMENTS)
    assert set(figures["seconds"]) == {"dense", "visible"}
    assert 0 < figures["difference"] <= benchmark.MAX_RELATIVE_DIFFERENCE


def test_forms_that_differ_are_an_error() -> None:
    with pytest.raises(AssertionError, match=r"the forms differ by 2\.5e-01"):
        benchmark.largest_difference({"a": np.full(3, 4.0)}, {"a": np.full(3, 5.0)})


def test_the_table_has_the_ratio() -> None:
    rows = benchmark.table("micro", {"dense": {"latency, s": 3.0}, "visible": {"latency, s": 2.0}})
    assert rows.splitlines()[-1] == "| latency, s | 3 | 2 | 1.50 |"
