"""What a model computes with a switch off, against the same weights with it on and what it adds taken away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bevformer_lib.export.clip import clip_frame
from bevformer_lib.model.bevformer import BEVFormer, build_model
from bevformer_lib.model.random_weights import randomize
from bevformer_lib.names import CAN_BUS_YAW_DEG
from tests.support.micro import micro_config

Outputs = tuple[Tensor, Tensor, Tensor]


def _model(**switches: bool) -> BEVFormer:
    # The embedding of can_bus would follow the motion too.
    model = build_model(replace(micro_config(), **{"use_can_bus": False, **switches}))
    randomize(model, seed=1)
    return model


def _run(model: BEVFormer, *, without_motion: slice | None = None) -> Outputs:
    """Run a frame with a history, some entries of its ``can_bus`` zero."""
    frame = clip_frame(model.config, 1, seed=2)
    img, can_bus, lidar2img = (torch.from_numpy(array) for array in (frame.img, frame.can_bus, frame.lidar2img))
    if without_motion is not None:
        can_bus[:, without_motion] = 0.0
    history = torch.randn(model.config.num_bev_cells, 1, 32, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        outputs: Outputs = model(img, can_bus, lidar2img, history)
    return outputs


@pytest.mark.parametrize(
    ("switch", "entries"),
    [("use_shift", slice(0, 2)), ("rotate_prev_bev", slice(CAN_BUS_YAW_DEG, CAN_BUS_YAW_DEG + 1))],
)
def test_without_shift_or_rotation_the_car_stands_still_or_drives_straight(switch: str, entries: slice) -> None:
    off, on = _model(**{switch: False}), _model()
    for given, expected in zip(_run(off), _run(on, without_motion=entries), strict=True):
        torch.testing.assert_close(given, expected)
    assert not torch.allclose(_run(off)[0], _run(on)[0], atol=1e-3)


def test_without_camera_embeddings_they_are_zero() -> None:
    off, on = _model(use_cams_embeds=False), _model()
    assert not torch.allclose(_run(off)[0], _run(on)[0], atol=1e-3)
    torch.nn.init.zeros_(on.pts_bbox_head.transformer.cams_embeds)
    for given, expected in zip(_run(off), _run(on), strict=True):
        torch.testing.assert_close(given, expected)


def test_without_its_norm_the_can_bus_embedding_ends_in_the_relu() -> None:
    on = _model(use_can_bus=True).pts_bbox_head.transformer.can_bus_mlp
    off = build_model(replace(micro_config(), can_bus_norm=False)).pts_bbox_head.transformer.can_bus_mlp
    off.load_state_dict({name: value for name, value in on.state_dict().items() if not name.startswith("norm")})
    can_bus = torch.from_numpy(clip_frame(micro_config(), 1, seed=2).can_bus)
    with torch.inference_mode():
        raw = off(can_bus)
        torch.testing.assert_close(raw, F.relu(on[2](F.relu(on[0](can_bus)))))
        torch.testing.assert_close(on.norm(raw), on(can_bus))


def test_without_box_refinement_layers_share_their_branches_and_keep_the_first_reference() -> None:
    model = _model(with_box_refine=False)
    head = model.pts_bbox_head
    references: list[Tensor] = []
    states: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        references.append(inputs[3])
        states.append(output)

    for layer in head.transformer.decoder.layers:
        layer.register_forward_hook(keep)
    _, classes, coords = _run(model)
    with torch.inference_mode():
        logits = head.transformer.reference_points(head.query_embedding.weight[:, :32])
        for layer, state in enumerate(states):
            assert torch.equal(references[layer], references[0])
            torch.testing.assert_close(classes[layer], head.cls_branches[0](state))
            # The box code's x and y are the offset in logits from the reference point, then metres.
            center = (head.reg_branches[0](state)[..., 0:2] + logits[:, 0:2]).sigmoid() * 102.4 - 51.2
            torch.testing.assert_close(coords[layer][..., 0:2], center)
    assert len(states) == 3
