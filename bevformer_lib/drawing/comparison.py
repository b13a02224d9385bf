"""Two sets of detections of one frame in one image: the float model's and the quantised one's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.birdseye import draw_birdseye
from bevformer_lib.drawing.cameras import GAP_PX, draw_cameras
from bevformer_lib.drawing.frame import LegendEntry, beside, framed, stacked
from bevformer_lib.drawing.style import (
    GROUND_TRUTH,
    ROLE_CANDIDATE,
    ROLE_REFERENCE,
    BoxLayer,
    Image,
    detections_in_color,
    ground_truth_layer,
)
from bevformer_lib.scenes.types import GroundTruthBox

WIDTH_PX: Final = 1812


def draw_comparison(
    images: Sequence[Image],
    lidar_to_image: NDArray[Any],
    *,
    pc_range: Sequence[float],
    reference: Detections,
    candidate: Detections,
    ground_truth: Sequence[GroundTruthBox] | None = None,
    names: tuple[str, str] = ("float", "quantised"),
    title: str = "",
    subtitle: str = "",
) -> Image:
    """Draw both sets into the cameras and from above.

    The reference is blue and solid, the candidate orange, and dashed where both are shown: where they agree, the dashes
    lie on the line. Three bird's-eye views show the reference, the candidate and both.

    Args:
        images: one (H, W, 3) uint8 BGR per camera, stored order, all of one size.
        lidar_to_image: (cameras, 4, 4) LiDAR frame (m) to homogeneous pixels of these images.
        pc_range: x_min, y_min, z_min, x_max, y_max, z_max in metres; the ground shown.
        reference: all of them are drawn.
        candidate: all of them are drawn.
        ground_truth: annotations, dashed and white from above, or ``None``.
        names: of the reference and the candidate.
        title: at the top left.
        subtitle: at the top right.
    """
    both = (
        detections_in_color(reference, ROLE_REFERENCE),
        detections_in_color(candidate, ROLE_CANDIDATE, dashed=True),
    )
    annotated = () if ground_truth is None else (ground_truth_layer(ground_truth),)
    views: tuple[tuple[str, tuple[BoxLayer, ...]], ...] = (
        (f"{names[0]}: {_boxes(reference)}", (*annotated, both[0])),
        (f"{names[1]}: {_boxes(candidate)}", (*annotated, detections_in_color(candidate, ROLE_CANDIDATE))),
        ("both", both),
    )
    cameras = draw_cameras(images, lidar_to_image, both, width_px=WIDTH_PX)
    side = (WIDTH_PX - 2 * GAP_PX) // len(views)
    birdseye = beside(
        [draw_birdseye(layers, pc_range=pc_range, size_wh=(side, side), heading=name) for name, layers in views]
    )
    legend: list[LegendEntry] = [(ROLE_REFERENCE, names[0], False), (ROLE_CANDIDATE, names[1], True)]
    if ground_truth is not None:
        legend.append((GROUND_TRUTH, f"annotated ({len(ground_truth)})", True))
    return framed(stacked([cameras, birdseye]), title=title, subtitle=subtitle, legend=legend)


def _boxes(detections: Detections) -> str:
    count = len(detections.scores)
    return f"{count} box" if count == 1 else f"{count} boxes"
