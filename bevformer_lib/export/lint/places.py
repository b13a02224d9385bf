"""What a rule is: a check that yields places, and what every finding of it has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

from bevformer_lib.export.chip import Chip
from bevformer_lib.export.graph import STANDARD_DOMAINS, node_label
from bevformer_lib.export.lint.evidence import Evidence
from bevformer_lib.export.lint.facts import GraphFacts
from bevformer_lib.export.lint.findings import Severity


@dataclass(frozen=True)
class Place:
    """A place of a graph that a rule objects to.

    Attributes:
        node: label of the node, or name of the tensor or graph.
        operator: the node's operator, with the domain where that is not the standard one; empty for a tensor or graph.
        evidence: how this is known, where the rule's own evidence does not say it.
        severity: of this finding, where it is not the rule's.
    """

    node: str
    why: str
    advice: str
    operator: str = ""
    evidence: Evidence | None = None
    severity: Severity | None = None


Places = Iterator[Place]
Check = Callable[[onnx.ModelProto, GraphFacts, Chip], Places]


@dataclass(frozen=True)
class Rule:
    """A check, how bad its findings are, and how what it checks is known.

    Attributes:
        check: yields the places.
        severity: of every finding whose place has none of its own.
        evidence: of every finding whose place has none of its own.
    """

    check: Check
    severity: Severity
    evidence: Evidence


def at(
    node: onnx.NodeProto,
    *,
    why: str,
    advice: str,
    evidence: Evidence | None = None,
    severity: Severity | None = None,
) -> Place:
    """Return the place of a node."""
    operator = node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"
    return Place(node_label(node), why, advice, operator, evidence, severity)
