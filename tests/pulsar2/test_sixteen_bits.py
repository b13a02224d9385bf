"""Whether the exported graph bears 16 bits throughout: the stand-in's quantisers on every tensor of a micro graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from bevformer_lib.export.clip import clip_frame
from bevformer_lib.export.passes.pipeline import run_passes
from bevformer_lib.fidelity import tensor_fidelity
from bevformer_lib.model.camera_sampling import SpatialForm
from tests.export.models import random_model, write_traced
from tests.standins.pulsar2.quantize import built_types, calibrate, quantize
from tests.support.micro import micro_config

EVERYTHING_U16 = {
    "quant": {
        "layer_configs": [
            {"start_tensor_names": ["DEFAULT"], "end_tensor_names": ["DEFAULT"], "data_type": "U16"},
        ]
    }
}


@pytest.mark.parametrize("spatial", ["visible", "dense"])
def test_every_output_follows_the_float_graph(spatial: SpatialForm, tmp_path: Path) -> None:
    config = micro_config()
    write_traced(random_model(config, spatial=spatial), tmp_path / "x.onnx")
    graph, _ = run_passes(onnx.load(str(tmp_path / "x.onnx")))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]

    prev_bev = np.zeros((config.num_bev_cells, 1, config.embed_dims), np.float32)
    samples, expected = [], []
    for index in range(2):
        frame = clip_frame(config, index, seed=3)
        samples.append({"img": frame.img, "can_bus": frame.can_bus, "lidar2img": frame.lidar2img, "prev_bev": prev_bev})
        expected.append(session.run(names, samples[-1]))
        prev_bev = expected[-1][names.index("bev_embed")]

    operators = built_types(EVERYTHING_U16, graph.graph)
    quantized = quantize(graph, operators, calibrate(graph, samples, operators, lambda *_: None))
    compiled = onnxruntime.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
    for sample, outputs in zip(samples, expected, strict=True):
        for name, reference, given in zip(names, outputs, compiled.run(names, sample), strict=True):
            cosine = tensor_fidelity(reference, given).cosine
            assert cosine is not None and cosine > 0.995, name
