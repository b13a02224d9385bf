"""The kinds of limit that a chip's operator list puts on attributes and inputs, one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import onnx

from bevformer_lib.export.graph import attributes
from bevformer_lib.export.lint.facts import GraphFacts, type_name


@dataclass(frozen=True)
class Subject:
    """The attribute or input that a limit is about, at one node."""

    node: onnx.NodeProto
    name: str
    facts: GraphFacts

    @property
    def given(self) -> Any:
        """The attribute's value, or ``None`` where the node leaves it out; data types by name (``float32``)."""
        return self._readable(attributes(self.node).get(self.name))

    @property
    def effective(self) -> Any:
        """The attribute's value, or the operator's default where the node leaves it out."""
        return self._readable(self._default()) if self.given is None else self.given

    @property
    def tensor(self) -> str:
        """Name of the input tensor, empty where it is left out."""
        position = INPUT_POSITIONS[(self.node.op_type, self.name)]
        return self.node.input[position] if position < len(self.node.input) else ""

    def _default(self) -> Any:
        if not onnx.defs.has(self.node.op_type, self.facts.opset):
            return None
        schema = onnx.defs.get_schema(self.node.op_type, self.facts.opset)
        known = schema.attributes.get(self.name)
        if known is None or known.default_value.type == onnx.AttributeProto.UNDEFINED:
            return None
        value = onnx.helper.get_attribute_value(known.default_value)
        return value.decode() if isinstance(value, bytes) else value

    def _readable(self, value: Any) -> Any:
        if (self.node.op_type, self.name) == ("Cast", "to") and isinstance(value, int):
            return type_name(value)
        return value


INPUT_POSITIONS: Final[Mapping[tuple[str, str], int]] = {
    ("Gather", "indices"): 1,
    ("Pow", "exponent"): 1,
    ("Pad", "axes"): 3,
}
"""(operator, name in the list) -> position, where the limit is on an input and not on an attribute."""

WITHOUT_EFFECT_UNLESS: Final[Mapping[tuple[str, str], tuple[str, Any]]] = {
    ("Resize", "nearest_mode"): ("mode", "nearest"),
}
"""(operator, attribute) -> the other attribute's value without which this one does nothing, so its limit neither."""


def violated(subject: Subject, limits: Mapping[str, Any]) -> str | None:
    """Return how a node breaks the limits on one attribute or input, or ``None`` where it keeps them."""
    condition = WITHOUT_EFFECT_UNLESS.get((subject.node.op_type, subject.name))
    if condition is not None and Subject(subject.node, condition[0], subject.facts).effective != condition[1]:
        return None
    for kind, allowed in limits.items():
        reason = LIMIT_KINDS[kind](subject, allowed)
        if reason is not None:
            return f"{subject.name} {reason}"
    return None


def _equals(subject: Subject, allowed: Any) -> str | None:
    return None if subject.effective in (allowed, None) else f"is {subject.effective!r}, only {allowed!r} is accepted"


def _not_equals(subject: Subject, forbidden: Any) -> str | None:
    return f"must not be {forbidden!r}" if subject.effective == forbidden else None


def _one_of(subject: Subject, allowed: list[Any]) -> str | None:
    if subject.effective in (*allowed, None):
        return None
    return f"is {subject.effective!r}, accepted are {', '.join(map(str, allowed))}"


def _absent_or(subject: Subject, allowed: Any) -> str | None:
    return None if subject.given in (allowed, None) else f"is {subject.given!r}; leave it out or make it {allowed!r}"


def _absent(subject: Subject, _: bool) -> str | None:
    is_input = (subject.node.op_type, subject.name) in INPUT_POSITIONS
    present = bool(subject.tensor) if is_input else subject.given is not None
    return "must be left out" if present else None


def _all_equal(subject: Subject, allowed: Any) -> str | None:
    values = subject.effective or []
    return None if all(value == allowed for value in values) else f"is {values}, every entry must be {allowed!r}"


def _last(subject: Subject, _: bool) -> str | None:
    shape = subject.facts.shapes.get(next(iter(subject.node.input), ""))
    accepted = (-1, None) if shape is None else (-1, len(shape) - 1, None)
    return None if subject.effective in accepted else f"is {subject.effective}, only the last one is accepted"


def _max_rank(subject: Subject, allowed: int) -> str | None:
    rank = subject.facts.ranks.get(subject.tensor, 0)
    return f"{subject.tensor!r} has rank {rank}, at most {allowed} is accepted" if rank > allowed else None


def _scalar_initializer(subject: Subject, _: bool) -> str | None:
    if subject.tensor not in subject.facts.constants:
        return f"{subject.tensor!r} is computed, only a constant is accepted"
    shape = subject.facts.shapes.get(subject.tensor, ())
    return (
        None
        if all(size == 1 for size in shape)
        else f"{subject.tensor!r} has shape {shape}, only one value is accepted"
    )


LIMIT_KINDS: Final[Mapping[str, Callable[[Subject, Any], str | None]]] = {
    "equals": _equals,
    "not_equals": _not_equals,
    "one_of": _one_of,
    "absent_or": _absent_or,
    "absent": _absent,
    "all_equal": _all_equal,
    "last": _last,
    "max_rank": _max_rank,
    "scalar_initializer": _scalar_initializer,
}
"""Kind of limit -> a function that says how a subject breaks it, or gives ``None``.

An attribute with neither a value nor a default breaks nothing.
"""
