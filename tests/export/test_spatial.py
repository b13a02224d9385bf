from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.config.camera_capacity import PillarGrid
from bevformer_lib.export.spatial import SpatialChoice, cameras_per_cell_of_rigs, choose_spatial
from bevformer_lib.geometry.pillars import needed_cameras_per_cell
from tests.support.micro import micro_config
from tests.support.scenes import rig_lidar_to_image

FOUR = replace(micro_config(), num_cams=4)


def narrower(rig: NDArray[np.float64]) -> NDArray[np.float64]:
    """Double the focal length across the picture, so that no two cameras see the same."""
    center_u = FOUR.image_hw[1] / 2
    narrow = rig.copy()
    narrow[:, 0] = 2 * rig[:, 0] - center_u * rig[:, 2]
    return narrow


def test_a_rig_that_needs_less_than_the_proof_gets_what_the_proof_needs(caplog: pytest.LogCaptureFixture) -> None:
    apart = narrower(rig_lidar_to_image(FOUR.image_hw)[[0, 3, 4, 5]])
    assert needed_cameras_per_cell(PillarGrid.of(FOUR), [apart]) == 1
    room = cameras_per_cell_of_rigs(FOUR, [apart])
    assert choose_spatial(FOUR, "slots", room) == SpatialChoice("slots", 2)
    assert "need room for 1 cameras per BEV cell; the graph gets room for 2" in caplog.text


def test_a_rig_that_needs_more_decides(caplog: pytest.LogCaptureFixture) -> None:
    rig = rig_lidar_to_image(FOUR.image_hw)[:4]
    three_ahead = np.stack([rig[0], rig[0], rig[0], rig[3]])
    assert cameras_per_cell_of_rigs(FOUR, [rig, three_ahead]) == 3
    assert not caplog.text
