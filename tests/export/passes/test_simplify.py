from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxsim
import pytest
from onnx import helper, numpy_helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export.passes import simplify
from tests.export.graphs import model_of, operators, run_model, vendor_like_model


def _foldable() -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    constants = {
        "w": generator.standard_normal((3, 2, 3, 3)).astype(np.float32),
        "scale": np.ones(3, np.float32) * 2,
        "bias": np.ones(3, np.float32),
        "mean": np.zeros(3, np.float32),
        "var": np.ones(3, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"]),
        helper.make_node("Identity", ["n"], ["y"]),
    ]
    return model_of(nodes, {"x": (1, 2, 5, 5)}, {"y": (1, 3, 3, 3)}, constants=constants)


def test_batch_norm_is_folded_and_the_values_stay() -> None:
    model = _foldable()
    result = simplify.apply(model)
    assert operators(result.model) == ["Conv"]
    assert result.changed == 2
    np.testing.assert_allclose(run_model(result.model)["y"], run_model(model)["y"], rtol=1e-4, atol=1e-5)


def test_a_dynamic_input_is_named() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ("n", 3)}, {"y": ("n", 3)})
    with pytest.raises(ExportError, match="input 'x' has no fixed shape"):
        simplify.apply(model)


def test_changed_values_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiling(model: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
        spoilt = onnx.ModelProto()
        spoilt.CopyFrom(model)
        weight = numpy_helper.to_array(spoilt.graph.initializer[0]) * np.float32(1.01)
        spoilt.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
        return spoilt, True

    monkeypatch.setattr(onnxsim, "simplify", spoiling)
    with pytest.raises(ExportError, match=r"onnxsim changed output 'y': relative difference .*e-0\d"):
        simplify.apply(_foldable())


def test_a_lost_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def losing(model: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
        return model_of([helper.make_node("Relu", ["z"], ["y"])], {"z": (1, 3, 3, 3)}, {"y": (1, 3, 3, 3)}), True

    monkeypatch.setattr(onnxsim, "simplify", losing)
    with pytest.raises(ExportError, match="onnxsim changed the graph's inputs"):
        simplify.apply(_foldable())


def test_what_onnxsim_raises_becomes_an_export_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(model: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
        raise RuntimeError("no supported data type: 17")

    monkeypatch.setattr(onnxsim, "simplify", failing)
    with pytest.raises(ExportError, match="onnxsim failed on the graph: no supported data type: 17"):
        simplify.apply(_foldable())


def test_same_bytes_every_time() -> None:
    first, second = (simplify.apply(vendor_like_model()).model.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
