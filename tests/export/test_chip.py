from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import pytest

from bevformer_lib.errors import ExportError
from bevformer_lib.export.chip import DEFAULT_CHIP, chip_names, load_chip
from bevformer_lib.export.lint.limits import INPUT_POSITIONS, LIMIT_KINDS


def test_the_published_chips_are_known() -> None:
    assert {"AX650", "AX620E", "AX615", "AX637", "M57", "M76H", "AX8850", "AX8860"} <= set(chip_names())
    assert DEFAULT_CHIP == "AX650"


def test_what_is_known_to_be_missing_from_the_default_chip() -> None:
    chip = load_chip(DEFAULT_CHIP)
    assert chip.operators is not None
    assert chip.operators >= {"GridSample", "Conv", "Where", "Gather"}
    assert not chip.operators & {"Atan", "Sign", "Neg", "Mod", "Einsum", "NonZero", "DeformConv", "Reciprocal", "Shape"}
    assert chip.min_opset == 11
    assert chip.tensor_types == ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


@pytest.mark.parametrize("name", ["M76H", "AX8850"])
def test_one_list_covers_three_chips(name: str) -> None:
    assert load_chip(name) == replace(load_chip("AX650"), name=name)


def test_a_chip_whose_operators_nobody_lists_has_none() -> None:
    chip = load_chip("AX8860")
    assert (chip.operators, chip.limits) == (None, {})
    assert chip.tensor_types == load_chip("AX650").tensor_types


def test_an_unknown_chip_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ExportError, match="unknown target 'AX999'; known are AX650, AX620E"):
        load_chip("AX999")
    with pytest.raises(ExportError, match="unknown target '_about'"):
        load_chip("_about")


def test_every_kind_of_limit_in_the_list_is_understood() -> None:
    text = resources.files("bevformer_lib.export").joinpath("data", "npu_operators.json").read_text()
    kinds = set()
    for name in json.loads(text).keys() - {"_about"}:
        for operator, limits in json.loads(text)[name]["limits"].items():
            for subject, rules in limits.items():
                kinds |= set(rules)
                if {"max_rank", "scalar_initializer"} & set(rules):
                    assert (operator, subject) in INPUT_POSITIONS
    assert kinds == set(LIMIT_KINDS)
