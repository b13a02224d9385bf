"""Run the rewrites in order and say what each did."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import onnx

from bevformer_lib.export.passes import (
    batch_norm_into_matmul,
    constant_reshape_shapes,
    explicit_padding,
    fewer_axes,
    flat_gather,
    gemm_factors,
    live_gemm_to_matmul,
    lp_normalization_to_div,
    named_reduce_axes,
    product_bias,
    round_prefer_ceil_resize,
    simplify,
    squeeze_to_reshape,
    standard_grid_sample,
    swish_to_sigmoid,
    unpadded_average_pool,
    written_defaults,
    xor_to_equal,
)
from bevformer_lib.export.passes.base import PassResult, Refusal
from bevformer_lib.export.passes.bodies import apply_everywhere
from bevformer_lib.progress import ProgressCallback, no_progress

GraphPass = Callable[[onnx.ModelProto], PassResult]

PASSES: Final[Mapping[str, GraphPass]] = {
    "standard_grid_sample": standard_grid_sample.apply,
    "constant_reshape_shapes": constant_reshape_shapes.apply,
    "explicit_padding": explicit_padding.apply,
    "unpadded_average_pool": unpadded_average_pool.apply,
    "round_prefer_ceil_resize": round_prefer_ceil_resize.apply,
    "swish_to_sigmoid": swish_to_sigmoid.apply,
    "xor_to_equal": xor_to_equal.apply,
    "lp_normalization_to_div": lp_normalization_to_div.apply,
    "simplify": simplify.apply,
    "batch_norm_into_matmul": batch_norm_into_matmul.apply,
    "live_gemm_to_matmul": live_gemm_to_matmul.apply,
    "gemm_factors": gemm_factors.apply,
    "product_bias": product_bias.apply,
    "flat_gather": flat_gather.apply,
    "fewer_axes": fewer_axes.apply,
    "squeeze_to_reshape": squeeze_to_reshape.apply,
    "named_reduce_axes": named_reduce_axes.apply,
    "written_defaults": written_defaults.apply,
}
"""Name -> rewrite, in order: shapes are inferred through standard operators only, and the rewrites that need them come
after they are constant; operators that ONNX Runtime may not know go before onnxsim runs the graph; onnxsim folds what
is constant, matrices included, and makes Squeeze and Gemm of other things, so what mends these comes behind it."""

_GO_INTO_BODIES: Final = frozenset({"simplify"})
"""Go into the bodies of If and Loop by themselves; with the others :func:`apply_everywhere` does."""


@dataclass(frozen=True)
class PassReport:
    """What one rewrite did.

    Attributes:
        changed: places rewritten.
        refusals: places left alone, with the reason.
    """

    name: str
    nodes_before: int
    nodes_after: int
    changed: int
    refusals: tuple[Refusal, ...]
    seconds: float


def run_passes(
    model: onnx.ModelProto,
    passes: Mapping[str, GraphPass] = PASSES,
    on_progress: ProgressCallback = no_progress,
) -> tuple[onnx.ModelProto, tuple[PassReport, ...]]:
    """Apply ``passes`` one after the other, to the graph and to the bodies of If, Loop and Scan in it.

    Args:
        model: any graph; it is not modified.
        passes: name -> rewrite, in the order to run them.
        on_progress: told after each.

    Returns:
        The rewritten graph and one report per rewrite.

    Raises:
        ExportError: a rewrite found that its result is not the graph it was given.
    """
    reports: list[PassReport] = []
    for number, (name, apply) in enumerate(passes.items(), start=1):
        started = time.perf_counter()
        result = apply(model) if name in _GO_INTO_BODIES else apply_everywhere(apply, model)
        reports.append(
            PassReport(
                name=name,
                nodes_before=len(model.graph.node),
                nodes_after=len(result.model.graph.node),
                changed=result.changed,
                refusals=result.refusals,
                seconds=time.perf_counter() - started,
            )
        )
        model = result.model
        on_progress("graph passes", number, len(passes))
    return model, tuple(reports)
