from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bevformer_lib.model.random_weights import randomize
from bevformer_lib.synthetic_scenes.cameras import camera_calibration
from bevformer_lib.training.settings import TrainingSettings
from bevformer_lib.training.training_model import TrainingModel
from tests.training.toy import toy_config


@pytest.fixture
def model(tmp_path: Path) -> TrainingModel:
    torch.manual_seed(3)
    made = TrainingModel(toy_config(tmp_path), TrainingSettings()).eval()
    randomize(made.detector, seed=1)
    return made


def test_a_batch_of_streams_equals_the_detector_frame_by_frame(model: TrainingModel) -> None:
    config = model.config
    calibration = torch.stack(
        [torch.from_numpy(camera.lidar_to_image).float() for camera in camera_calibration(6, config.image_scale)]
    )
    moved = calibration.clone()
    moved[:, 0, 3] += 40.0
    lidar2img = torch.stack([calibration, moved, calibration])
    generator = torch.Generator().manual_seed(0)
    img = torch.randn(3, 6, 3, *config.image_hw, generator=generator)
    can_bus = torch.randn(3, 18, generator=generator)
    prev_bev = torch.randn(3, config.num_bev_cells, config.embed_dims, generator=generator)
    prev_bev[1] = 0.0

    with torch.no_grad():
        batch = model(img, can_bus, lidar2img, prev_bev, all_groups=False)
        for stream in range(3):
            one = slice(stream, stream + 1)
            bev, logits, coords = model.detector(img[one], can_bus[one], lidar2img[one], prev_bev[one].transpose(0, 1))
            torch.testing.assert_close(batch.bev[stream], bev[:, 0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(batch.logits[:, 0, stream], logits[:, 0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(batch.coords[:, 0, stream], coords[:, 0], rtol=1e-4, atol=1e-4)


def test_groups_of_queries_do_not_see_each_other(model: TrainingModel) -> None:
    config = model.config
    img = torch.randn(1, 6, 3, *config.image_hw)
    inputs = (img, torch.zeros(1, 18), torch.randn(1, 6, 4, 4), torch.zeros(1, config.num_bev_cells, config.embed_dims))

    with torch.no_grad():
        alone, both = model(*inputs, all_groups=False), model(*inputs, all_groups=True)

    assert both.logits.shape[1] == 2
    torch.testing.assert_close(both.logits[:, 0], alone.logits[:, 0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both.logits[:, 1], both.logits[:, 0])
