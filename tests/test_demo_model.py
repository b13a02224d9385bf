"""The shipped checkpoint is what its card says."""

from __future__ import annotations

import re

import torch

from bevformer_lib.config.load import load_model_config
from bevformer_lib.demo import CHECKPOINT, DEMO

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
