"""Our model against the original BEVFormer's outputs, frame after frame, with ``prev_bev`` fed back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.bevformer import BEVFormer, build_model
from bevformer_lib.model.camera_sampling import SpatialForm
from tests.support.data import requires_shared_data, shared_data

MAX_RELATIVE_ERROR = 1e-5
CASES = ("micro_tiny", "micro_small", "micro_base")

pytestmark = requires_shared_data


@dataclass(frozen=True)
class GoldenCase:
    config: ModelConfig
    model: BEVFormer
    arrays: dict[str, NDArray]

    def frames(self) -> Iterator[tuple[int, bool]]:
        index = 0
        while f"f{index}/img" in self.arrays:
            yield index, bool(self.arrays[f"f{index}/new_scene"])
            index += 1

    def inputs(self, frame: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        names = ("img", "can_bus_delta", "lidar2img")
        img, can_bus, lidar2img = (torch.from_numpy(self.arrays[f"f{frame}/{name}"]).float()[None] for name in names)
        return img, can_bus, lidar2img


def golden_case(name: str, spatial: SpatialForm = "dense") -> GoldenCase:
    folder: Path = shared_data() / "golden"
    arrays = dict(np.load(folder / f"{name}.npz"))
    config = load_model_config(str(folder / f"{name}.json"), image_hw=arrays["f0/img"].shape[-2:])
    model = build_model(config, spatial=spatial)
    state_dict = {key[3:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("sd/")}
    model.load_state_dict(state_dict, strict=True)
    return GoldenCase(config, model, arrays)


def relative_error(actual: torch.Tensor | NDArray, expected: NDArray) -> float:
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("spatial", ["dense", "visible"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_of_every_frame(name: str, spatial: SpatialForm) -> None:
    case = golden_case(name, spatial)
    prev_bev = torch.zeros(case.config.num_bev_cells, 1, case.config.embed_dims)
    frames = list(case.frames())
    assert len(frames) >= 3
    for frame, new_scene in frames:
        if new_scene:
            prev_bev = torch.zeros_like(prev_bev)
        with torch.no_grad():
            bev_embed, classes, coords = case.model(*case.inputs(frame), prev_bev)
        for output, key in ((bev_embed, "bev_embed"), (classes, "all_cls_scores"), (coords, "all_bbox_preds")):
            error = relative_error(output, case.arrays[f"f{frame}/{key}"])
            assert error <= MAX_RELATIVE_ERROR, f"{key} of frame {frame} is off by {error:.2e}"
        prev_bev = bev_embed


@pytest.mark.parametrize("name", CASES)
def test_intermediate_tensors(name: str) -> None:
    case = golden_case(name)
    transformer = case.model.pts_bbox_head.transformer
    seen: dict[str, torch.Tensor] = {}

    def keep(key: str):
        return lambda module, inputs, output: seen.__setitem__(key, output)

    modules = {"can_bus_mlp": transformer.can_bus_mlp, "shift": transformer.shift}
    for index, layer in enumerate(transformer.encoder.layers):
        modules[f"enc{index}_tsa"] = layer.attentions[0]
        modules[f"enc{index}_sca"] = layer.attentions[1]
        modules[f"enc{index}_out"] = layer
    for key, module in modules.items():
        module.register_forward_hook(keep(key))
    transformer.rotation.register_forward_hook(keep("prev_bev_rotated"))
    transformer.encoder.projection.register_forward_hook(keep("projection"))

    with torch.no_grad():
        first, *_ = case.model(*case.inputs(0), torch.zeros(case.config.num_bev_cells, 1, case.config.embed_dims))
        case.model(*case.inputs(1), first)
    for key in modules:
        assert relative_error(seen[key], case.arrays[f"f1/dbg/{key}"]) <= MAX_RELATIVE_ERROR, key
    rotated = seen["prev_bev_rotated"].transpose(0, 1)
    assert relative_error(rotated, case.arrays["f1/dbg/prev_bev_rotated"]) <= MAX_RELATIVE_ERROR
    _, sees_cell = seen["projection"]
    visible = case.arrays["f1/dbg/bev_mask"][:, 0].any(-1)
    np.testing.assert_array_equal(sees_cell.numpy() > 0, visible)
