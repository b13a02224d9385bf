"""All rules by name: what a chip's converter refuses or computes wrongly, how bad that is and how it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bevformer_lib.export.lint import graph_rules, list_rules
from bevformer_lib.export.lint.evidence import LISTED, STANDARD
from bevformer_lib.export.lint.findings import Severity
from bevformer_lib.export.lint.observed import OBSERVATIONS, check_of
from bevformer_lib.export.lint.places import Rule

RULES: Final[Mapping[str, Rule]] = {
    "opset": Rule(graph_rules.opset_too_old, Severity.ERROR, LISTED),
    "invalid": Rule(graph_rules.invalid_onnx, Severity.ERROR, STANDARD),
    "undefined": Rule(graph_rules.undefined_names, Severity.ERROR, STANDARD),
    "custom-domain": Rule(graph_rules.custom_domains, Severity.ERROR, LISTED),
    "unused-domain": Rule(graph_rules.unused_domains, Severity.WARNING, STANDARD),
    "no-list": Rule(list_rules.unknown_list, Severity.WARNING, LISTED),
    "operator": Rule(list_rules.unlisted_operators, Severity.WARNING, LISTED),
    "limit": Rule(list_rules.broken_limits, Severity.ERROR, LISTED),
    "contradicted": Rule(list_rules.contradicted_operators, Severity.WARNING, LISTED),
    **{name: Rule(check_of(rows), Severity.ERROR, rows[0].evidence) for name, rows in OBSERVATIONS.items()},
    "dynamic-shape": Rule(graph_rules.dynamic_shapes, Severity.ERROR, LISTED),
    "missing-shape": Rule(graph_rules.missing_shapes, Severity.ERROR, LISTED),
    "int64": Rule(graph_rules.int64_tensors, Severity.ERROR, LISTED),
    "int64-index": Rule(graph_rules.int64_indices, Severity.WARNING, STANDARD),
    "tensor-type": Rule(graph_rules.tensor_types, Severity.ERROR, LISTED),
    "rank": Rule(graph_rules.high_ranks, Severity.ERROR, LISTED),
}
"""Name -> rule, in the order in which findings are reported."""
