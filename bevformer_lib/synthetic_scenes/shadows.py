"""Shadows that boxes throw on the ground: the outline of the box, pushed along the light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.synthetic_scenes.rasterize import fill_polygon, project_clipped

_MAX_REACH_M: Final = 40.0


def shadow_outline(
    footprint_m: NDArray[np.float64], height_m: float, to_sun: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the convex outline (m, 3) of a prism's shadow on z = 0.

    Args:
        footprint_m: (n, 2) corners on the ground.
        height_m: height of the prism.
        to_sun: (3,) unit vector towards the sun.
    """
    push = -to_sun[:2] / to_sun[2] * height_m
    push *= min(1.0, _MAX_REACH_M / max(float(np.linalg.norm(push)), 1e-9))
    points = np.concatenate([footprint_m, footprint_m + push])
    hull = cv2.convexHull(points.astype(np.float32))[:, 0, :].astype(np.float64)
    return np.concatenate([hull, np.zeros((len(hull), 1))], axis=1)


def draw_shadows(
    outlines_camera_m: Sequence[NDArray[np.float64]], intrinsics: NDArray[np.float64], size_hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return a mask (h, w) uint8 that is 1 where the ground lies in a shadow.

    Args:
        outlines_camera_m: outlines (m, 3) on the ground, in the camera frame.
        intrinsics: (3, 3), for an image of ``size_hw``.
        size_hw: height and width of the mask.
    """
    mask = np.zeros(size_hw, dtype=np.uint8)
    for outline in outlines_camera_m:
        corners = project_clipped(outline, intrinsics)
        if corners is not None:
            fill_polygon(mask, corners, 1)
    return mask
