from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from bevformer_lib.errors import ExportError
from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.lint.run import lint
from bevformer_lib.export.passes.pipeline import run_passes
from bevformer_lib.export.trace import trace_model
from bevformer_lib.model.bevformer import BEVFormer
from bevformer_lib.model.camera_sampling import SpatialForm
from tests.export.models import MICRO_CONFIGS, random_model
from tests.support.micro import micro_config


@pytest.mark.parametrize("spatial", ["dense", "visible"])
@pytest.mark.parametrize("name", list(MICRO_CONFIGS))
def test_every_form_of_every_model_is_accepted_after_the_passes(
    name: str, spatial: SpatialForm, tmp_path: Path
) -> None:
    config = MICRO_CONFIGS[name]()
    trace_model(random_model(config, spatial=spatial), config, tmp_path / "raw.onnx")
    graph, reports = run_passes(onnx.load(str(tmp_path / "raw.onnx")))
    assert [str(refusal) for report in reports for refusal in report.refusals] == []
    assert lint(graph, load_chip("AX650")).findings == ()


def test_the_raw_graph_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        trace_model(random_model(micro_config()), micro_config(), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


class _Untraceable(BEVFormer):
    def forward(
        self, img: Tensor, can_bus: Tensor, lidar2img: Tensor, prev_bev: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        bev_embed, classes, coords = super().forward(img, can_bus, lidar2img, prev_bev)
        return bev_embed + torch.linalg.eigvals(lidar2img).real.sum(), classes, coords


def test_what_has_no_onnx_operator_is_an_error(tmp_path: Path) -> None:
    model = random_model(micro_config())
    model.__class__ = _Untraceable
    with pytest.raises(ExportError, match="can't be traced to operator set 17"):
        trace_model(model, micro_config(), tmp_path / "raw.onnx")
