from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bevformer_lib.convert.ranges import SampleRuns, activation_ranges
from bevformer_lib.errors import ConversionError
from tests.support.toy_graph import write_toy_graph


def _samples(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.RandomState(0)
    shapes = {"img": (1, 6, 3, 96, 160), "can_bus": (1, 18), "lidar2img": (1, 6, 4, 4), "prev_bev": (120, 1, 32)}
    return [{n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()} for _ in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return onnx.load(write_toy_graph(tmp_path / "toy.onnx"))


def test_ranges_are_the_extremes_over_all_samples(model: onnx.ModelProto, tmp_path: Path) -> None:
    samples, seen = _samples(3), []
    ranges = activation_ranges(
        model,
        ["prev_bev", "bev_embed", "stem.relu"],
        SampleRuns(iter(samples), 3, threads=1, on_progress=lambda *what: seen.append(what)),
    )
    session = onnxruntime.InferenceSession(tmp_path / "toy.onnx")
    outputs = [session.run(["bev_embed"], sample)[0] for sample in samples]
    assert ranges["bev_embed"] == pytest.approx((np.min(outputs), np.max(outputs)), rel=1e-6)
    states = [sample["prev_bev"] for sample in samples]
    assert ranges["prev_bev"] == (np.min(states), np.max(states))
    assert ranges["stem.relu"][0] == 0
    assert seen == [("calibrate", number, 3) for number in (1, 2, 3)]


def test_nan_inside_the_model_names_the_tensor_and_the_sample(model: onnx.ModelProto) -> None:
    samples = _samples(2)
    samples[1]["prev_bev"][0] = np.inf
    with pytest.raises(ConversionError, match="calibration sample 2: 'bev_embed' in the float model holds NaN"):
        samples[1]["can_bus"][:] = np.nan
        activation_ranges(model, ["bev_embed"], SampleRuns(samples, 2, threads=1))
