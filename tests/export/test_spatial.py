from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.config.camera_capacity import PillarGrid
from bevformer_lib.export.spatial import SpatialChoice, cameras_per_query_of_calibrations, choose_spatial
from bevformer_lib.geometry.pillars import needed_cameras_per_query
from tests.support.micro import micro_config
from tests.support.scenes import surround_lidar_to_image

FOUR = replace(micro_config(), num_cams=4)


def narrower(camera_calibration: NDArray[np.float64]) -> NDArray[np.float64]:
    """Double the focal length across the image, so that no two cameras see the same."""
    center_u = FOUR.image_hw[1] / 2
    narrow = camera_calibration.copy()
    narrow[:, 0] = 2 * camera_calibration[:, 0] - center_u * camera_calibration[:, 2]
    return narrow


def test_a_rig_that_needs_less_than_the_proof_gets_what_the_proof_needs(caplog: pytest.LogCaptureFixture) -> None:
    apart = narrower(surround_lidar_to_image(FOUR.image_hw)[[0, 3, 4, 5]])
    assert needed_cameras_per_query(PillarGrid.of(FOUR), [apart]) == 1
    most = cameras_per_query_of_calibrations(FOUR, [apart])
    assert choose_spatial(FOUR, "visible", most) == SpatialChoice("visible", 2)
    assert "need 1 cameras per BEV query; the graph takes 2" in caplog.text


def test_a_rig_that_needs_more_decides(caplog: pytest.LogCaptureFixture) -> None:
    camera_calibration = surround_lidar_to_image(FOUR.image_hw)[:4]
    three_ahead = np.stack([camera_calibration[0], camera_calibration[0], camera_calibration[0], camera_calibration[3]])
    assert cameras_per_query_of_calibrations(FOUR, [camera_calibration, three_ahead]) == 3
    assert not caplog.text
