"""The cameras of a frame side by side, with boxes drawn in.

Six cameras are laid out as the driver would look: front left, front, front right; below them back left, back, back
right. Every image is shown as its camera took it, never mirrored: what is on the car's left appears on the right
of the image of CAM_BACK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bevformer_lib.detections.geometry import BOX_EDGES, FRONT_CORNERS, box_corners_lidar_m
from bevformer_lib.drawing.project import (
    Segments,
    homogeneous_pixels,
    project_polygons,
    project_segments,
    resized,
)
from bevformer_lib.drawing.strokes import draw_segments, fill_polygon, fixed_point, fixed_point_of_each
from bevformer_lib.drawing.style import BLACK, TEXT, BoxLayer, Color, Image, blank, text_color_on
from bevformer_lib.drawing.text import SEMIBOLD, put_text, text_width_px
from bevformer_lib.names import CAMERA_ORDER

DRIVING_ORDER: Final = (
    ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
    ("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"),
)

GAP_PX: Final = 6
MAX_TILE_WH: Final = (900, 600)

_LINE_WIDTHS: Final = ((15.0, 2), (float("inf"), 1))
"""(up to this depth in metres, line width in pixels)."""
_FRONT_FACE_OPACITY: Final = 0.25
_CAPTION_PX: Final = 11
_CAPTION_HEIGHT_PX: Final = 15
_CAPTION_MARGIN_PX: Final = 3
_UNOBSTRUCTED_PX: Final = 45
"""A caption keeps off boxes lower than this; larger ones are seen through."""
_TILE_NAME_PX: Final = 13


def draw_cameras(
    images: Sequence[Image],
    lidar_to_image: NDArray[Any],
    layers: Sequence[BoxLayer],
    *,
    width_px: int,
) -> Image:
    """Draw all cameras of a frame.

    Rows of one single colour that end every image (the padding up to the network's input size) are left out.

    Args:
        images: one (H, W, 3) per camera, in the stored order of ``names.CAMERA_ORDER`` where there are six; all of
            one size.
        lidar_to_image: (cameras, 4, 4), for the images at this size.
        layers: boxes, drawn in this order.
        width_px: width of the result at most; tiles don't grow beyond ``MAX_TILE_WH``.
    """
    rows = camera_rows(len(images))
    columns = max(len(row) for row in rows)
    height, width = images[0].shape[0] - _padding_rows(images), images[0].shape[1]
    room_w = min((width_px - GAP_PX * (columns - 1)) // columns, MAX_TILE_WH[0])
    scale = min(room_w / width, MAX_TILE_WH[1] / height)
    tile_wh = max(1, round(width * scale)), max(1, round(height * scale))

    pitch_w, pitch_h = tile_wh[0] + GAP_PX, tile_wh[1] + GAP_PX
    canvas = blank(pitch_w * columns - GAP_PX, pitch_h * len(rows) - GAP_PX)
    for row, cameras in enumerate(rows):
        for column, camera in enumerate(cameras):
            tile = draw_camera(
                images[camera][:height],
                lidar_to_image[camera],
                layers,
                size_wh=tile_wh,
                name=_camera_name(camera, len(images)),
            )
            top, left = row * pitch_h, column * pitch_w
            canvas[top : top + tile_wh[1], left : left + tile_wh[0]] = tile
    return canvas


def draw_camera(
    image: Image,
    lidar_to_image: NDArray[Any],
    layers: Sequence[BoxLayer],
    *,
    size_wh: tuple[int, int],
    name: str,
) -> Image:
    """Draw one camera: the image resized, boxes from far to near, then captions, the best scores first served.

    A caption that finds no free place at its box is left out; its box never is.

    Args:
        image: (H, W, 3).
        lidar_to_image: (4, 4) for the image at its own size.
        layers: boxes, drawn in this order.
        size_wh: size of the result.
        name: written into the top left corner.
    """
    scale_xy = size_wh[0] / image.shape[1], size_wh[1] / image.shape[0]
    canvas = cv2.resize(image, size_wh, interpolation=interpolation(scale_xy[0]))
    tile = np.asarray(canvas, dtype=np.uint8)
    matrix = resized(lidar_to_image, scale_xy)

    captions: list[_Caption] = []
    for layer in layers:
        captions += _draw_boxes(tile, matrix, layer)
    for caption, place in _placed(captions, size_wh, taken=[_draw_name(tile, name)]):
        _draw_caption(tile, caption, place)
    return tile


def interpolation(scale: float) -> int:
    """Return how to resize for the eye: areas where rows would be left out, else lines, a sixth of the time."""
    if scale > 1.0:
        return cv2.INTER_CUBIC
    return cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA


def camera_rows(num_cams: int) -> tuple[tuple[int, ...], ...]:
    """Return the cameras' numbers row by row: driving order for six, stored order for any other count."""
    if num_cams == len(CAMERA_ORDER):
        return tuple(tuple(CAMERA_ORDER.index(name) for name in row) for row in DRIVING_ORDER)
    columns = num_cams if num_cams <= 3 else (num_cams + 1) // 2
    return tuple(tuple(range(first, min(first + columns, num_cams))) for first in range(0, num_cams, columns))


_Rectangle = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two exclusive."""


@dataclass(frozen=True)
class _Caption:
    text: str
    color: Color
    box: _Rectangle


def _draw_boxes(tile: Image, lidar_to_image: NDArray[np.float64], layer: BoxLayer) -> list[_Caption]:
    """Draw the boxes of a layer from far to near and return the captions of those in sight, in the layer's order."""
    if not len(layer.boxes):
        return []
    image_hw = tile.shape[0], tile.shape[1]
    corners = box_corners_lidar_m(layer.boxes)
    edges = corners[:, np.array(BOX_EDGES)]
    visible = project_segments(edges[:, :, 0].reshape(-1, 3), edges[:, :, 1].reshape(-1, 3), lidar_to_image, image_hw)
    starts = visible.starts(len(corners), len(BOX_EDGES))
    lines = visible.pixels if layer.dashed else fixed_point(visible.pixels)
    faces = project_polygons(corners[:, FRONT_CORNERS], lidar_to_image, image_hw)
    filled = [corners[:0] for corners in faces] if layer.dashed else fixed_point_of_each(faces)
    depth_m = homogeneous_pixels(corners.mean(axis=1), lidar_to_image)[:, 2]
    depths_m = depth_m.tolist()
    for index in np.argsort(-depth_m, kind="stable").tolist():
        pixels, color = lines[starts[index] : starts[index + 1]], layer.colors[index]
        fill_polygon(tile, filled[index], color, _FRONT_FACE_OPACITY)
        if len(pixels):
            width = next(width for reach, width in _LINE_WIDTHS if depths_m[index] <= reach)
            draw_segments(tile, pixels, color, 1 if layer.dashed else width, dashed=layer.dashed)
    return _captions_in_sight(visible, starts, layer)


def _captions_in_sight(visible: Segments, starts: Sequence[int], layer: BoxLayer) -> list[_Caption]:
    """Return the captions of the boxes of which something is visible, in the layer's order."""
    shown = [index for index in range(len(layer.boxes)) if starts[index] < starts[index + 1] and layer.captions[index]]
    if not shown:
        return []
    ends = np.array([(starts[index], starts[index + 1]) for index in shown]).ravel()
    # Every second part lies between two boxes that are shown; the end of the last one is no place to begin.
    low, high = np.floor(visible.pixels).min(axis=1), np.ceil(visible.pixels).max(axis=1)
    begins = ends if ends[-1] < len(low) else ends[:-1]
    lowest, highest = np.minimum.reduceat(low, begins)[::2], np.maximum.reduceat(high, begins)[::2]
    boxes = np.concatenate([lowest, highest + 1], axis=1).astype(int).tolist()
    return [
        _Caption(layer.captions[index], layer.colors[index], (left, top, right, bottom))
        for index, (left, top, right, bottom) in zip(shown, boxes, strict=True)
    ]


def _draw_name(tile: Image, name: str) -> _Rectangle:
    """Write the camera's name on a dark plate and return the plate."""
    right, bottom = text_width_px(name, _TILE_NAME_PX, SEMIBOLD) + 16, 24
    plate = tile[:bottom, :right]
    cv2.addWeighted(np.full_like(plate, BLACK), 0.6, plate, 0.4, 0.0, dst=plate)
    put_text(tile, name, (8, bottom / 2), size_px=_TILE_NAME_PX, color=TEXT, weight=SEMIBOLD)
    return 0, 0, right, bottom


def _placed(
    captions: Sequence[_Caption], size_wh: tuple[int, int], taken: list[_Rectangle]
) -> list[tuple[_Caption, _Rectangle]]:
    """Find room for captions; the first choose first."""
    if not captions:
        return []
    boxes = np.array([caption.box for caption in captions])
    widths = [text_width_px(caption.text, _CAPTION_PX, SEMIBOLD) + 2 * _CAPTION_MARGIN_PX for caption in captions]
    places = _candidate_places(boxes, np.array(widths), size_wh)
    small = boxes[boxes[:, 3] - boxes[:, 1] < _UNOBSTRUCTED_PX]
    others = (small != boxes[:, None]).any(axis=2)
    free = ~(_overlap(places[:, :, None], small) & others[:, None]).any(axis=2)
    occupied = np.zeros((size_wh[1], size_wh[0]), dtype=bool)
    for left, top, right, bottom in taken:
        occupied[top:bottom, left:right] = True
    placed = []
    for index in np.flatnonzero(free.any(axis=1)).tolist():
        for left, top, right, bottom in places[index, free[index]].tolist():
            if not occupied[top:bottom, left:right].any():
                occupied[top:bottom, left:right] = True
                placed.append((captions[index], (left, top, right, bottom)))
                break
    return placed


def _candidate_places(
    boxes: NDArray[np.int64], text_w: NDArray[np.int64], size_wh: tuple[int, int]
) -> NDArray[np.int64]:
    """Return (n, 7, 4) places above, below and beside (n, 4) boxes, moved into the image, best first."""
    box_left, box_top, box_right, box_bottom = boxes.T
    above, below, to_right = box_top - 1 - _CAPTION_HEIGHT_PX, box_bottom + 1, box_right - text_w
    left = np.stack([box_left, to_right, box_left, to_right, box_right + 1, box_left - 1 - text_w, box_left], axis=1)
    top = np.stack([above, above, below, below, box_top, box_top, above - _CAPTION_HEIGHT_PX], axis=1)
    x = np.clip(left, 0, np.maximum(size_wh[0] - text_w, 0)[:, None])
    y = np.clip(top, 0, max(size_wh[1] - _CAPTION_HEIGHT_PX, 0))
    return np.stack([x, y, x + text_w[:, None], y + _CAPTION_HEIGHT_PX], axis=2)


def _draw_caption(tile: Image, caption: _Caption, place: _Rectangle) -> None:
    left, top, right, bottom = place
    cv2.rectangle(tile, (left, top), (right - 1, bottom - 1), caption.color, cv2.FILLED)
    put_text(
        tile,
        caption.text,
        (left + _CAPTION_MARGIN_PX, (top + bottom) / 2),
        size_px=_CAPTION_PX,
        color=text_color_on(caption.color),
        weight=SEMIBOLD,
    )


def _overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which rectangles (..., 4) overlap which."""
    starts_before_its_end = one[..., :2] < other[..., 2:]
    ends_after_its_start = other[..., :2] < one[..., 2:]
    return np.asarray((starts_before_its_end & ends_after_its_start).all(axis=-1))


def _padding_rows(images: Sequence[Image]) -> int:
    """Count the rows of one single colour at the bottom of all images; 0 where that is a whole image."""
    height = images[0].shape[0]
    for count in range(height):  # from below: padding is short
        if any((image[height - 1 - count] != image[-1, -1]).any() for image in images):
            return count
    return 0


def _camera_name(camera: int, num_cams: int) -> str:
    if num_cams != len(CAMERA_ORDER):
        return f"CAMERA {camera}"
    return CAMERA_ORDER[camera].removeprefix("CAM_").replace("_", " ")
