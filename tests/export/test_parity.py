from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bevformer_lib.errors import ParityError
from bevformer_lib.export.parity import TOLERANCE, check_parity
from bevformer_lib.model.bevformer import BEVFormer
from bevformer_lib.names import OUTPUT_NAMES
from tests.export.models import random_model, write_traced
from tests.support.micro import micro_config


class _CanBusFrozen(BEVFormer):
    """As the vendor's exporter leaves it: the graph reads can_bus, but a value of the traced frame decides."""

    def forward(
        self, img: Tensor, can_bus: Tensor, lidar2img: Tensor, prev_bev: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return super().forward(img, can_bus * 0.0 + torch.ones(1, 18), lidar2img, prev_bev)


class _PrevBevFrozen(BEVFormer):
    def forward(
        self, img: Tensor, can_bus: Tensor, lidar2img: Tensor, prev_bev: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return super().forward(img, can_bus, lidar2img, prev_bev * 0.0)


def _frozen(kind: type[BEVFormer]) -> BEVFormer:
    model = random_model(micro_config())
    model.__class__ = kind
    return model


def test_a_graph_of_the_model_itself_is_proven(tmp_path: Path) -> None:
    model = random_model(micro_config())
    write_traced(model, tmp_path / "x.onnx")
    events: list[tuple[str, int, int]] = []

    report = check_parity(model, tmp_path / "x.onnx", micro_config(), on_progress=lambda *event: events.append(event))

    assert report.tolerance == TOLERANCE
    assert 0 < max(report.worst(output) for output in OUTPUT_NAMES) <= TOLERANCE
    assert events == [(f"parity check: {side}", done, 3) for side in ("PyTorch", "ONNX Runtime") for done in (1, 2, 3)]


@pytest.mark.parametrize(("name", "kind"), [("can_bus", _CanBusFrozen), ("prev_bev", _PrevBevFrozen)])
def test_an_input_without_effect_is_found_though_both_sides_agree(
    name: str, kind: type[BEVFormer], tmp_path: Path
) -> None:
    model = _frozen(kind)
    write_traced(model, tmp_path / "x.onnx")
    with pytest.raises(ParityError, match=f"input '{name}' has no effect"):
        check_parity(model, tmp_path / "x.onnx", micro_config())


def test_ego_motion_frozen_into_the_graph_is_found_on_the_next_frame(tmp_path: Path) -> None:
    write_traced(_frozen(_CanBusFrozen), tmp_path / "x.onnx")
    with pytest.raises(ParityError, match=r"output 'bev_embed' of frame 0 is off by"):
        check_parity(random_model(micro_config()), tmp_path / "x.onnx", micro_config())


def test_a_difference_of_one_thousandth_is_found(tmp_path: Path) -> None:
    model = random_model(micro_config())
    write_traced(model, tmp_path / "x.onnx")
    with torch.no_grad():
        model.pts_bbox_head.cls_branches[-1][6].weight.mul_(1.001)
    with pytest.raises(ParityError, match=r"output 'outputs_classes' of frame 0 is off by .*e-04"):
        check_parity(model, tmp_path / "x.onnx", micro_config())
