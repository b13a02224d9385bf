"""The operators that the converter of each chip accepts, and the limits it puts on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from bevformer_lib.errors import ExportError

DEFAULT_CHIP: Final = "AX650"

_TABLE: Final = "npu_operators.json"
_ABOUT: Final = "_about"
_SAME_LIST: Final[Mapping[str, str]] = {"M76H": "AX650", "AX8850": "AX650"}
"""Chip -> the chip whose list covers it; AX8850 runs files that are compiled for AX650."""
_WITHOUT_LIST: Final = ("AX8860",)
"""Chips that the converter (7.0) compiles for, and whose operators the documentation does not list."""

Limits = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Chip:
    """What one chip's converter accepts.

    Attributes:
        name: as the converter's ``--target_hardware`` spells it.
        operators: names of the listed operators; ``None``: no list is published.
        limits: operator -> attribute or input -> kind of limit -> value; kinds are those of
            :data:`bevformer_lib.export.lint.limits.LIMIT_KINDS`.
        min_opset: oldest operator set accepted.
        contradicted: operators that the English edition of the vendor's list holds and the Chinese one doesn't ->
            version of Pulsar2 since which they differ.
        tensor_types: names of the number types it computes with: those that the list lets ``Cast`` make.
    """

    name: str
    operators: frozenset[str] | None
    limits: Limits
    min_opset: int
    contradicted: Mapping[str, str]
    tensor_types: tuple[str, ...]


def chip_names() -> tuple[str, ...]:
    """Return the chips that graphs can be checked for."""
    return (*(name for name in _read_table() if name != _ABOUT), *_SAME_LIST, *_WITHOUT_LIST)


def load_chip(name: str) -> Chip:
    """Return what is known of a chip.

    Raises:
        ExportError: the chip is unknown.
    """
    table = _read_table()
    if name not in chip_names():
        raise ExportError(f"unknown target {name!r}; known are {', '.join(chip_names())}")
    listed = table.get(_SAME_LIST.get(name, name))
    return Chip(
        name=name,
        operators=None if listed is None else frozenset(listed["operators"]),
        limits={} if listed is None else listed["limits"],
        min_opset=table[_ABOUT]["min_opset"],
        contradicted=table[_ABOUT]["contradicted"].get(name, {}),
        # Every published list names the same types.
        tensor_types=tuple((listed or table[DEFAULT_CHIP])["limits"]["Cast"]["to"]["one_of"]),
    )


def _read_table() -> dict[str, Any]:
    text = resources.files("bevformer_lib.export").joinpath("data", _TABLE).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table
