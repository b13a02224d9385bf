"""The exported file, run by ONNX Runtime, against the original BEVFormer's outputs, with ``prev_bev`` fed back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bevformer_lib.config.host_geometry import GeometryForm
from bevformer_lib.export.onnx_export import export_onnx
from bevformer_lib.names import INPUT_NAMES
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.model.test_golden import CASES, MAX_RELATIVE_ERROR, golden_case, relative_error
from tests.support.data import requires_shared_data

pytestmark = requires_shared_data


@pytest.mark.parametrize("geometry", ["graph", "host"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_of_every_frame(name: str, geometry: GeometryForm, tmp_path: Path) -> None:
    case = golden_case(name)
    torch.save({"state_dict": case.model.state_dict()}, tmp_path / "w.pth")
    export_onnx(case.config, tmp_path / "w.pth", tmp_path / "x.onnx", target="AX620E", geometry=geometry)
    runtime = with_host_geometry(OnnxRuntime(tmp_path / "x.onnx", threads=1), None)
    no_history = np.zeros((case.config.num_bev_cells, 1, case.config.embed_dims), dtype=np.float32)
    prev_bev = no_history
    frames = list(case.frames())
    assert len(frames) >= 3
    for frame, new_scene in frames:
        inputs = (*(tensor.numpy() for tensor in case.inputs(frame)), no_history if new_scene else prev_bev)
        outputs = runtime.run(dict(zip(INPUT_NAMES, inputs, strict=True)))
        for output, key in (
            ("bev_embed", "bev_embed"),
            ("outputs_classes", "all_cls_scores"),
            ("outputs_coords", "all_bbox_preds"),
        ):
            error = relative_error(outputs[output], case.arrays[f"f{frame}/{key}"])
            assert error <= MAX_RELATIVE_ERROR, f"{output} of frame {frame} is off by {error:.2e}"
        prev_bev = outputs["bev_embed"]
