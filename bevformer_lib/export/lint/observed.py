"""What operators were seen to do in the real converter and on a card, as one table.

Whoever published it ran Pulsar2 6.0 and 7.0 for AX650, mostly on graphs of one node; the converter is the same program
for all chips. Nobody published anything about 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from bevformer_lib.export.chip import Chip
from bevformer_lib.export.graph import REDUCTIONS, STANDARD_DOMAINS
from bevformer_lib.export.lint import conditions
from bevformer_lib.export.lint.conditions import Condition, Surroundings
from bevformer_lib.export.lint.evidence import (
    COMPILED_6,
    COMPILED_6_OR_7,
    COMPILED_7,
    ON_CARD_6_OR_7,
    Evidence,
)
from bevformer_lib.export.lint.facts import GraphFacts
from bevformer_lib.export.lint.findings import Severity
from bevformer_lib.export.lint.places import Check, Places, at
from bevformer_lib.export.lint.validity import node_fault

_RUN_THE_PASSES: Final = "run the passes (bevformer repair)"


@dataclass(frozen=True)
class Observation:
    """Something that operators were seen to do.

    Attributes:
        operators: their types; ``None``: all.
        happened: what the converter said, or the card did.
        evidence: where that was seen, with which version.
        condition: which nodes of these types it concerns.
        severity: an error for what was seen itself, a warning for what resembles it.
    """

    operators: frozenset[str] | None
    happened: str
    evidence: Evidence
    advice: str
    condition: Condition = conditions.always
    severity: Severity = Severity.ERROR


def _fails(operator: str, happened: str, evidence: Evidence, advice: str) -> Observation:
    return Observation(frozenset({operator}), happened, evidence, advice)


_UNKNOWN: Final = "the converter said: dont support {} opr in AXOPS/ONNXOPS/CUSTOM_OPS"
_FROM_QUANTIZER: Final = "convert the float graph: the converter quantises it itself"
_FAILS: Final = (
    _fails("LRN", _UNKNOWN.format("LRN"), COMPILED_6_OR_7, "write it with AveragePool of the squares"),
    _fails("IsNaN", _UNKNOWN.format("IsNaN"), COMPILED_6_OR_7, "leave it out: the NPU saturates and makes no NaN"),
    *(
        _fails(operator, _UNKNOWN.format(operator), COMPILED_6_OR_7, _FROM_QUANTIZER)
        for operator in ("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger")
    ),
    _fails("Xor", "a KeyError ended the build", COMPILED_6, f"{_RUN_THE_PASSES}, which write it as Not of Equal"),
    _fails("Swish", "the converter said: get opr failed", COMPILED_6, f"{_RUN_THE_PASSES}: x * Sigmoid(alpha * x)"),
    _fails("RotaryEmbedding", "the build failed", COMPILED_6, "write it out as Slice, Mul, Sub, Add and Concat"),
    _fails(
        "InverseSigmoid",
        "the converter said: pyrun failed",
        COMPILED_6,
        "compute it on the host, or as Log of x / (1 - x)",
    ),
    _fails(
        "LpNormalization",
        "an internal error ended the build",
        COMPILED_6,
        f"{_RUN_THE_PASSES}: Div by ReduceL2 or a sum",
    ),
    _fails(
        "SpatialTransformer",
        "it demands theta_1_1 .. theta_2_3, then an IndexError follows",
        COMPILED_6,
        "use GridSample",
    ),
)
FAILING_OPERATORS: Final = frozenset(operator for row in _FAILS for operator in row.operators or ())
"""Operator types that failed whatever their attributes, on a list or not."""

_MEAN: Final = frozenset({"ReduceMean"})
_NAME_THE_AXES: Final = f"{_RUN_THE_PASSES}, which name the axes"
_SUB_AND_MUL: Final = frozenset({"Mul", "Sub"})
_LIKE_SUB_AND_MUL: Final = frozenset({"Add", "Div", "Max", "Min", "Pow"})
_TILE_FAILS: Final = "the converter said: TileFailException tuple index out of range"
_KEEP_AN_AXIS: Final = "keep an axis of one in front: [1, N]"
_TO_RESHAPE: Final = f"{_RUN_THE_PASSES}, which make it a Reshape"

OBSERVATIONS: Final[Mapping[str, tuple[Observation, ...]]] = {
    "fails": _FAILS,
    "squeeze": (
        Observation(
            frozenset({"Squeeze"}),
            "the scheduler divided by zero",
            COMPILED_6,
            _TO_RESHAPE,
            conditions.the_only_node,
        ),
        Observation(
            frozenset({"Squeeze"}),
            "of one that was a graph's only node the scheduler divided by zero; among others 7.0 built it",
            COMPILED_6,
            _TO_RESHAPE,
            conditions.beside_others_without_a_relu_behind,
            Severity.WARNING,
        ),
    ),
    "conv-transpose": (
        Observation(
            frozenset({"ConvTranspose"}),
            "quantisation ended with: Op Execution Error (with strides of 8 and 4 some ran on a card)",
            COMPILED_6,
            "upsample with Resize and Conv, or build this node alone and waive the rule",
            conditions.all_attributes_default,
        ),
    ),
    "reduce-axes": (
        Observation(
            _MEAN,
            "the card reduced the last axis only, without a word",
            ON_CARD_6_OR_7,
            _NAME_THE_AXES,
            conditions.without_axes,
        ),
        Observation(
            REDUCTIONS - _MEAN,
            "of a ReduceMean the card reduced the last axis only, without a word; of this operator nobody said so",
            ON_CARD_6_OR_7,
            _NAME_THE_AXES,
            conditions.without_axes,
            Severity.WARNING,
        ),
    ),
    "low-rank": (
        Observation(
            _SUB_AND_MUL,
            _TILE_FAILS,
            COMPILED_7,
            _KEEP_AN_AXIS,
            conditions.of_one_axis,
        ),
        Observation(
            _LIKE_SUB_AND_MUL,
            f"of Sub and Mul {_TILE_FAILS}; of this operator nobody said so",
            COMPILED_7,
            _KEEP_AN_AXIS,
            conditions.of_one_axis,
            Severity.WARNING,
        ),
        Observation(
            None,
            "calibration said: zero-dimensional tensor cannot be concatenated",
            COMPILED_7,
            "keep an axis: keepdims=1, or indices of rank 1",
            conditions.of_no_axes,
        ),
    ),
    "default-attribute": tuple(
        Observation(
            frozenset(operators),
            "the converter took the absent attribute for None and crashed",
            COMPILED_6,
            f"{_RUN_THE_PASSES}, which write the default out",
            conditions.leaving_out(*names),
        )
        for operators, names in ((("Elu", "LeakyRelu"), ("alpha",)), (("TopK",), ("largest", "sorted")))
    ),
    "product-bias": (
        Observation(
            frozenset({"Add"}),
            "the converter fused both to a Gemm and said: truth value of an array is ambiguous",
            COMPILED_7,
            f"{_RUN_THE_PASSES}, which give the bias the shape [1, N]",
            conditions.behind_a_live_product,
        ),
    ),
    "live-weight": (
        Observation(
            frozenset({"Gemm"}),
            "the converter said: Should fuse Gemm (two non-parameter inputs) to MatMul",
            COMPILED_7,
            f"{_RUN_THE_PASSES}, which make it a MatMul",
            conditions.computed_weight,
        ),
        Observation(
            frozenset({"Conv"}),
            "AxQuantizedActWeightConv found no shape",
            COMPILED_7,
            "write it as MatMul over shifted inputs",
            conditions.computed_weight,
        ),
    ),
    "gather-table": (
        Observation(
            frozenset({"Gather"}),
            "the build failed: tables of three axes without a reason, large ones with: job io size > ocm size",
            COMPILED_7,
            f"{_RUN_THE_PASSES}, which flatten the table; where it is too large, gather on the host or from parts",
            conditions.large_table,
        ),
        Observation(
            frozenset({"Gather"}),
            "builds with tables of three axes failed without a reason, nobody said along which axis",
            COMPILED_7,
            f"{_RUN_THE_PASSES}, which flatten the table",
            conditions.many_axes_along_the_last,
            Severity.WARNING,
        ),
    ),
    "factor-one": (
        Observation(
            frozenset({"Mul", "Div"}),
            "the converter said: Seems config of input doesn't exist",
            COMPILED_6,
            f"{_RUN_THE_PASSES}, which remove it",
            conditions.one_that_does_nothing,
        ),
    ),
    "lopsided-padding": (
        Observation(
            frozenset({"Conv"}),
            "the backend refused the convolution",
            COMPILED_6_OR_7,
            "slice the padded input into one convolution per tap and add these",
            conditions.dilated_and_padded_on_one_side,
        ),
    ),
}
"""Rule -> what it knows of."""


def check_of(rows: tuple[Observation, ...]) -> Check:
    """Return a check that finds what some observations concern."""

    def check(model: onnx.ModelProto, facts: GraphFacts, chip: Chip) -> Places:
        around = Surroundings(model.graph, facts)
        for node in model.graph.node:
            for row in rows if node.domain in STANDARD_DOMAINS else ():
                how = _concerns(row, node, around)
                if how is not None:
                    yield at(
                        node,
                        why=f"{how}: {row.happened}",
                        advice=row.advice,
                        evidence=row.evidence,
                        severity=row.severity,
                    )

    return check


def _concerns(row: Observation, node: onnx.NodeProto, around: Surroundings) -> str | None:
    """Return how an observation concerns a node; what is invalid is not looked into."""
    if row.operators is not None and node.op_type not in row.operators:
        return None
    judged = row.operators is not None and row.condition is not conditions.always
    return None if judged and node_fault(node, around.facts.opset) is not None else row.condition(node, around)
