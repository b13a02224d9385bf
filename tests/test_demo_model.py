"""The shipped checkpoint is what its card says."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
import torch

from bevformer_lib.config.load import load_model_config
from bevformer_lib.demo import CHECKPOINT, DEMO
from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.lint.run import lint
from bevformer_lib.export.onnx_export import _PROVEN_PASSES
from bevformer_lib.export.passes.pipeline import run_passes
from bevformer_lib.export.spatial import choose_spatial
from bevformer_lib.export.trace import trace_model
from bevformer_lib.model.bevformer import build_model

CARD = CHECKPOINT.with_name("README.md").read_text(encoding="utf-8")


def test_the_card_shows_the_checkpoint_s_own_figures() -> None:
    meta = torch.load(CHECKPOINT, weights_only=True)["meta"]
    training, held_out = meta["training"], meta["training"]["held_out"]
    rows = dict(re.findall(r"^\| ([\w ,]+?) (?:\| .*)?\| (\.\d+) \|$", CARD, re.MULTILINE))
    both = {
        name: (with_memory, without)
        for name, with_memory, without in re.findall(r"^\| ([\w, /]+) \| ([\d.]+) \| ([\d.]+) \|$", CARD, re.MULTILINE)
    }

    assert {
        name.replace(" ", "_"): float(ap) for name, ap in rows.items() if name.replace(" ", "_") in held_out["ap"]
    } == {name: round(ap, 2) for name, ap in held_out["ap"].items()}
    for shown, key, digits in (
        ("mAP", "map", 3),
        ("NDS", "nds", 3),
        ("velocity error of what moves, m/s", "moving_velocity_error_mps", 2),
    ):
        wanted = tuple(round(held_out[name], digits) for name in (key, f"{key}_without_history"))
        assert tuple(map(float, both[shown])) == wanted
    assert f"{training['step']:,} steps" in CARD
    assert training["held_out_seeds"] == [900_000, 900_016] and "900000 to 900015" in CARD


def test_the_checkpoint_fits_its_config_and_a_package() -> None:
    content = torch.load(CHECKPOINT, weights_only=True)
    assert content["meta"]["config_digest"] == load_model_config(DEMO).digest()
    assert CHECKPOINT.stat().st_size <= 10_000_000
    assert "synthetic scenes only" in CARD


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["host", "graph"])
def test_no_chip_objects_to_its_graph(geometry: str, tmp_path: Path) -> None:
    config = load_model_config(DEMO)
    choice = choose_spatial(config, None, None)
    model = build_model(config, spatial=choice.form, cameras_per_query=choice.cameras_per_query)
    host = choice.host_geometry(model) if geometry == "host" else None
    trace_model(model, config, tmp_path / "raw.onnx", host_geometry=host)
    graph, reports = run_passes(onnx.load(str(tmp_path / "raw.onnx")), _PROVEN_PASSES)
    assert {report.name: report.changed for report in reports}["squeeze_to_reshape"] > 0
    for chip in map(load_chip, ("AX650", "AX620E", "AX637", "M57", "M76H", "AX8850")):
        found = lint(graph, chip).findings
        assert {finding.operator for finding in found} == set(chip.contradicted), [str(each) for each in found]
