from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bevformer_lib.convert.ranges import SampleRuns
from bevformer_lib.profile.steps import TensorStep, tensor_steps
from tests.export.graphs import model_of


def _steps(model: onnx.ModelProto, *samples: dict[str, np.ndarray]) -> dict[str, TensorStep]:
    return {step.name: step for step in tensor_steps(model, SampleRuns(samples, len(samples), threads=1))}


def test_a_step_is_the_range_over_the_set_and_counts_in_deviations() -> None:
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, {"y": (1, 4)})
    steps = _steps(model, {"x": np.float32([[-1, 1, 1, 3]])}, {"x": np.float32([[0, 0, 0, 50]])})
    assert (steps["x"].lowest, steps["x"].highest, steps["x"].unit) == (-1, 50, "deviations")
    assert steps["x"].step == pytest.approx(51 / 255)
    assert steps["x"].deviation == pytest.approx(np.sqrt((1 + 1 + 1 + 9 + 2500) / 8))
    assert not steps["x"].is_wide
    assert steps["y"].made_by == "Relu"


def test_what_becomes_a_sampling_position_counts_in_pixels_of_the_map() -> None:
    nodes = [
        helper.make_node("Mul", ["positions", "per_axis"], ["scaled"]),
        helper.make_node("Div", ["far", "depth"], ["near"]),
        helper.make_node("Add", ["scaled", "near"], ["grid"]),
        helper.make_node("GridSample", ["map", "grid"], ["sampled"], mode="bilinear"),
    ]
    shapes = {"map": (1, 1, 10, 40), "positions": (1, 2, 2, 2), "far": (1, 2, 2, 2), "depth": (1, 2, 2, 2)}
    model = model_of(nodes, shapes, {"sampled": (1, 1, 2, 2)})
    model.graph.initializer.append(numpy_helper.from_array(np.float32([0.1, 1.0]), "per_axis"))
    feed = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    feed["positions"][0, 0, 0] = -1, 1
    feed["far"][0, 0, 0] = -100, 100
    feed["depth"][:] = 20
    steps = _steps(model, feed)
    # Half of 40 columns and of 10 rows: x counts a tenth of 20 pixels, y its own 5.
    assert steps["positions"].step_in_units == pytest.approx(2 / 255 * 5)
    assert steps["far"].step_in_units == pytest.approx(200 / 255 * 20 / 20)
    assert steps["far"].is_wide
    assert steps["far"].step_in_units_u16 == pytest.approx(200 / 65535 * 20 / 20)
    assert "depth" not in steps  # It has one value only.
