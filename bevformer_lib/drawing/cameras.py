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
    homogeneous_pixels,
    project_polygon,
    project_segments,
    resized,
)
from bevformer_lib.drawing.strokes import draw_segments, fill_polygon
from bevformer_lib.drawing.style import BACKGROUND, BLACK, TEXT, BoxLayer, Color, Image, text_color_on
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
    canvas = np.empty((pitch_h * len(rows) - GAP_PX, pitch_w * columns - GAP_PX, 3), dtype=np.uint8)
    canvas[:] = BACKGROUND
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
    shrinks = scale_xy[0] < 1.0
    canvas = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    tile = np.asarray(canvas, dtype=np.uint8)
    matrix = resized(lidar_to_image, scale_xy)

    captions: list[_Caption] = []
    for layer in layers:
        captions += _draw_boxes(tile, matrix, layer)
    for caption, place in _placed(captions, size_wh, taken=[_draw_name(tile, name)]):
        _draw_caption(tile, caption, place)
    return tile


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
    depth_m = homogeneous_pixels(corners.mean(axis=1), lidar_to_image)[:, 2]
    captions: dict[int, _Caption] = {}
    for index in np.argsort(-depth_m, kind="stable").tolist():
        pixels = visible.pixels[visible.source // len(BOX_EDGES) == index]
        color = layer.colors[index]
        if not layer.dashed:
            face = project_polygon(corners[index, FRONT_CORNERS], lidar_to_image, image_hw)
            fill_polygon(tile, face, color, _FRONT_FACE_OPACITY)
        if not len(pixels):
            continue
        width = next(width for reach, width in _LINE_WIDTHS if depth_m[index] <= reach)
        draw_segments(tile, pixels, color, 1 if layer.dashed else width, dashed=layer.dashed)
        if layer.captions[index]:
            left, top = np.floor(pixels.min(axis=(0, 1))).astype(int).tolist()
            right, bottom = np.ceil(pixels.max(axis=(0, 1))).astype(int).tolist()
            captions[index] = _Caption(layer.captions[index], color, (left, top, right + 1, bottom + 1))
    return [captions[index] for index in sorted(captions)]


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
    """Find room for captions; the first choose first. ``taken`` grows."""
    small = [caption.box for caption in captions if caption.box[3] - caption.box[1] < _UNOBSTRUCTED_PX]
    placed = []
    for caption in captions:
        obstacles = [*taken, *(box for box in small if box != caption.box)]
        for place in _candidate_places(caption, size_wh):
            if not any(_overlap(place, obstacle) for obstacle in obstacles):
                taken.append(place)
                placed.append((caption, place))
                break
    return placed


def _candidate_places(caption: _Caption, size_wh: tuple[int, int]) -> list[_Rectangle]:
    """Return the places above, below and beside a caption's box, moved into the image, best first."""
    box_left, box_top, box_right, box_bottom = caption.box
    text_w = text_width_px(caption.text, _CAPTION_PX, SEMIBOLD) + 2 * _CAPTION_MARGIN_PX
    above, below, to_right = box_top - 1 - _CAPTION_HEIGHT_PX, box_bottom + 1, box_right - text_w
    corners = (
        (box_left, above),
        (to_right, above),
        (box_left, below),
        (to_right, below),
        (box_right + 1, box_top),
        (box_left - 1 - text_w, box_top),
        (box_left, above - _CAPTION_HEIGHT_PX),
    )
    places = []
    for left, top in corners:
        x = min(max(left, 0), max(size_wh[0] - text_w, 0))
        y = min(max(top, 0), max(size_wh[1] - _CAPTION_HEIGHT_PX, 0))
        places.append((x, y, x + text_w, y + _CAPTION_HEIGHT_PX))
    return places


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


def _overlap(one: _Rectangle, other: _Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _padding_rows(images: Sequence[Image]) -> int:
    """Count the rows of one single colour at the bottom of all images; 0 where that is a whole image."""
    counts = []
    for image in images:
        differs = (image != image[-1, -1]).any(axis=(1, 2))
        counts.append(int(np.argmax(differs[::-1])) if differs.any() else 0)
    return min(counts)


def _camera_name(camera: int, num_cams: int) -> str:
    if num_cams != len(CAMERA_ORDER):
        return f"CAMERA {camera}"
    return CAMERA_ORDER[camera].removeprefix("CAM_").replace("_", " ")
