"""Every limit of the packaged table, on every chip: a node that breaks it is found, a node that keeps it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, helper

from bevformer_lib.export.chip import chip_names, load_chip
from bevformer_lib.export.lint.limits import INPUT_POSITIONS
from bevformer_lib.export.lint.run import lint
from tests.export.graphs import model_of

OPSET: Final = 18
"""The oldest that has every limited attribute and input."""
_REQUIRED: Final = {AttributeProto.INT: 1, AttributeProto.INTS: [1, 1], AttributeProto.STRING: b"any"}

Limit = tuple[str, str, str, str, Any]


def _limits() -> Iterator[Limit]:
    for chip in chip_names():
        for operator, subjects in load_chip(chip).limits.items():
            for subject, kinds in subjects.items():
                yield from ((chip, operator, subject, kind, allowed) for kind, allowed in kinds.items())


def _other(value: Any) -> Any:
    return "another" if isinstance(value, str) else value + 1


def _breaking(kind: str, allowed: Any) -> Any:
    """An attribute's value, or a constant input, that breaks a limit."""
    match kind:
        case "equals" | "absent_or":
            return _other(allowed)
        case "not_equals":
            return allowed
        case "one_of":
            return "another" if isinstance(allowed[0], str) else max(allowed) + 1
        case "absent":
            return [1, 1]
        case "all_equal":
            return [allowed, allowed + 1]
        case "last":
            return 1
        case "max_rank":
            return np.zeros((1,) * (allowed + 1), np.int64)
        case "scalar_initializer":
            return np.zeros(2, np.float32)
    raise KeyError(kind)


def _keeping(kind: str, allowed: Any) -> Any:
    """The same that keeps it; ``None``: it has to be left out."""
    match kind:
        case "equals" | "absent_or":
            return allowed
        case "not_equals":
            return _other(allowed)
        case "one_of":
            return allowed[-1]
        case "absent":
            return None
        case "all_equal":
            return [allowed, allowed]
        case "last":
            return 3
        case "max_rank":
            return np.zeros((1,) * allowed, np.int64)
        case "scalar_initializer":
            return np.zeros(1, np.float32)
    raise KeyError(kind)


def _given(operator: str, subject: str, value: Any) -> Any:
    """Element types are written by name in the table and by number in a node."""
    if (operator, subject) != ("Cast", "to"):
        return value
    return TensorProto.DOUBLE if value == "another" else helper.np_dtype_to_tensor_dtype(np.dtype(value))


def _node_model(operator: str, subject: str, value: Any) -> onnx.ModelProto:
    """One node that is valid in all but the limit; inputs that it needs are ``x``."""
    schema = onnx.defs.get_schema(operator, OPSET)
    inputs = ["x"] * schema.min_input
    constants: dict[str, NDArray[Any]] = {}
    given = {name: _REQUIRED[entry.type] for name, entry in schema.attributes.items() if entry.required}
    if (operator, subject) in INPUT_POSITIONS:
        if value is not None:
            position = INPUT_POSITIONS[(operator, subject)]
            inputs += [""] * (position + 1 - len(inputs))
            inputs[position] = subject
            constants[subject] = np.asarray(value)
    elif value is not None:
        given[subject] = _given(operator, subject, value)
    outputs = [f"y{index}" for index in range(schema.min_output)]
    node = helper.make_node(operator, inputs, outputs, "it", **given)
    return model_of([node], {"x": (1, 2, 3, 4)}, {"y0": None}, constants=constants, opset=OPSET)


def _found(model: onnx.ModelProto, chip: str) -> list[str]:
    return [finding.why for finding in lint(model, load_chip(chip)).findings if finding.rule == "limit"]


@pytest.mark.parametrize(("chip", "operator", "subject", "kind", "allowed"), list(_limits()))
def test_what_breaks_a_limit_is_found_on_every_chip(
    chip: str, operator: str, subject: str, kind: str, allowed: Any
) -> None:
    broken = _found(_node_model(operator, subject, _breaking(kind, allowed)), chip)
    assert any(why.startswith(f"{subject} ") for why in broken), broken


@pytest.mark.parametrize(("chip", "operator", "subject", "kind", "allowed"), list(_limits()))
def test_what_keeps_a_limit_is_not_found_on_any_chip(
    chip: str, operator: str, subject: str, kind: str, allowed: Any
) -> None:
    broken = _found(_node_model(operator, subject, _keeping(kind, allowed)), chip)
    assert not [why for why in broken if why.startswith(f"{subject} ")]


def test_no_limit_is_on_an_operator_that_the_chip_does_not_list() -> None:
    for chip in map(load_chip, chip_names()):
        assert set(chip.limits) <= (chip.operators or frozenset())
