from __future__ import annotations

import numpy as np
import onnx

from bevformer_lib.export.passes.base import PassResult
from bevformer_lib.export.passes.pipeline import PASSES, run_passes
from tests.export.graphs import operators, run_model, vendor_like_model


def test_the_vendors_graph_comes_out_standard_and_constant() -> None:
    model = vendor_like_model()
    progress: list[tuple[str, int, int]] = []

    repaired, reports = run_passes(model, on_progress=lambda *event: progress.append(event))

    assert operators(repaired) == ["GridSample", "Mul"]
    assert [entry.domain for entry in repaired.opset_import] == [""]
    assert [report.name for report in reports] == list(PASSES)
    assert [(report.nodes_before, report.nodes_after) for report in reports][:2] == [(13, 13), (13, 4)]
    assert not any(report.refusals for report in reports)
    assert progress == [("graph passes", done, len(PASSES)) for done in range(1, len(PASSES) + 1)]
    np.testing.assert_allclose(run_model(repaired)["y"], run_model(model)["y"], rtol=1e-6)


def test_the_repaired_graph_is_the_same_from_an_older_operator_set() -> None:
    repaired, _ = run_passes(vendor_like_model(opset=13))
    assert [(entry.domain, entry.version) for entry in repaired.opset_import] == [("", 17)]
    np.testing.assert_allclose(run_model(repaired)["y"], run_model(vendor_like_model())["y"], rtol=1e-6)


def test_a_second_run_changes_nothing() -> None:
    once, _ = run_passes(vendor_like_model())
    twice, reports = run_passes(once)
    assert not any(report.changed for report in reports)
    assert twice.SerializeToString(deterministic=True) == once.SerializeToString(deterministic=True)


def test_passes_can_be_chosen() -> None:
    def nothing(model: onnx.ModelProto) -> PassResult:
        return PassResult(model, 0)

    model = vendor_like_model()
    result, reports = run_passes(model, {"nothing": nothing})
    assert result is model
    assert [report.name for report in reports] == ["nothing"]


def test_the_order_of_the_passes() -> None:
    assert list(PASSES) == [
        "standard_grid_sample",
        "constant_reshape_shapes",
        "explicit_padding",
        "unpadded_average_pool",
        "round_prefer_ceil_resize",
        "swish_to_sigmoid",
        "xor_to_equal",
        "lp_normalization_to_div",
        "simplify",
        "batch_norm_into_matmul",
        "live_gemm_to_matmul",
        "gemm_factors",
        "product_bias",
        "flat_gather",
        "fewer_axes",
        "squeeze_to_reshape",
        "named_reduce_axes",
        "written_defaults",
    ]
