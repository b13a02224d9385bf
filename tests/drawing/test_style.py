from __future__ import annotations

import itertools

import numpy as np
import pytest

from bevformer_lib.detections.types import Detections
from bevformer_lib.drawing.style import (
    CLASS_COLORS,
    Color,
    class_color,
    detections_by_class,
    ground_truth_layer,
    text_color_on,
)
from bevformer_lib.scenes.types import GroundTruthBox

# Machado, Oliveira and Fernandes, 2009, severity 1.0; on linear RGB.
VISION = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def lab(color: Color, vision: str) -> np.ndarray:
    rgb = np.array(color[::-1]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = RGB_TO_XYZ @ np.clip(np.array(VISION[vision]) @ linear, 0, 1) / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
def test_class_colors_stay_apart(vision: str) -> None:
    colors = [lab(color, vision) for color in CLASS_COLORS]
    nearest = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(colors, 2))
    assert nearest > 10  # 2.3 is a difference that is just noticed


def test_further_classes_get_colors_of_their_own() -> None:
    colors = [class_color(label) for label in range(40)]
    assert len(set(colors)) == 40
    assert colors[:10] == list(CLASS_COLORS)
    assert all(0 <= channel <= 255 for color in colors for channel in color)


@pytest.mark.parametrize("color", [*CLASS_COLORS, (0, 0, 0), (255, 255, 255), (128, 0, 0)])
def test_text_reads_on_every_color(color: Color) -> None:
    def luminance(bgr: Color) -> float:
        c = np.array(bgr) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.0722, 0.7152, 0.2126))

    one, other = luminance(color), luminance(text_color_on(color))
    assert (max(one, other) + 0.05) / (min(one, other) + 0.05) >= 4.5  # WCAG 2, level AA


def test_captions_name_class_and_score() -> None:
    detections = Detections(np.zeros((1, 9), np.float32), np.array([0.876], np.float32), np.array([1]))
    layer = detections_by_class(detections, ("car", "construction_vehicle"))
    assert layer.captions == ("construction vehicle 0.88",)
    assert layer.colors == (CLASS_COLORS[1],)


def test_ground_truth_is_dashed_and_stands_on_its_bottom() -> None:
    layer = ground_truth_layer([GroundTruthBox("car", (1, 2, 3), (2, 4, 1.5), 0.0, (0, 0))])
    assert layer.dashed
    assert layer.boxes[0, :6] == pytest.approx((1, 2, 2.25, 2, 4, 1.5))
    assert ground_truth_layer([]).boxes.shape == (0, 9)
