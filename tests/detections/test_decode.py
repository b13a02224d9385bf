from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bevformer_lib.config.model_config import BoxCoderConfig
from bevformer_lib.detections.decode import decode_detections
from tests.support.data import requires_shared_data, shared_data

CODER = BoxCoderConfig(
    pc_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
    post_center_range=(-61.2, -61.2, -10.0, 61.2, 61.2, 10.0),
    max_num=4,
    num_classes=2,
)


def golden_coder(case: str) -> BoxCoderConfig:
    config = json.loads((shared_data() / "golden" / f"{case}.json").read_text())
    coder = config["model"]["pts_bbox_head"]["bbox_coder"]
    return BoxCoderConfig(
        pc_range=tuple(coder["pc_range"]),
        post_center_range=tuple(coder["post_center_range"]),
        max_num=coder["max_num"],
        num_classes=coder["num_classes"],
        score_threshold=coder.get("score_threshold"),
    )


@requires_shared_data
@pytest.mark.parametrize(("case", "num_frames"), [("micro_tiny", 4), ("micro_small", 3), ("micro_base", 3)])
def test_equals_the_original_decoding(case: str, num_frames: int) -> None:
    coder = golden_coder(case)
    with np.load(shared_data() / "golden" / f"{case}.npz") as golden:
        for frame in range(num_frames):
            outputs = {
                "outputs_classes": golden[f"f{frame}/all_cls_scores"],
                "outputs_coords": golden[f"f{frame}/all_bbox_preds"],
            }
            expected_scores = golden[f"f{frame}/scores_3d"]
            # Where nothing passes, the original lowers its threshold and we don't; that is no golden frame.
            assert coder.score_threshold is None or expected_scores.min() > coder.score_threshold
            detections = decode_detections(outputs, coder)
            np.testing.assert_array_equal(detections.labels, golden[f"f{frame}/labels_3d"])
            np.testing.assert_allclose(detections.scores, expected_scores, rtol=0, atol=1e-6)
            np.testing.assert_allclose(detections.boxes, golden[f"f{frame}/boxes_3d"], rtol=0, atol=1e-5)
            assert detections.boxes.dtype == np.float32
            assert detections.labels.dtype == np.int64


def outputs_of(logits: list[list[float]], boxes: list[list[float]]) -> dict[str, np.ndarray]:
    """Two decoder layers, of which the first must not matter."""
    last_logits, last_boxes = np.array(logits, np.float32), np.array(boxes, np.float32)
    return {
        "outputs_classes": np.stack([np.full_like(last_logits, 9), last_logits])[:, None],
        "outputs_coords": np.stack([np.full_like(last_boxes, 9), last_boxes])[:, None],
    }


def raw_box(x: float = 0.0, y: float = 0.0, z: float = 0.0, height: float = 2.0) -> list[float]:
    return [x, y, np.log(1.5), np.log(4.0), z, np.log(height), 1.0, 0.0, 3.0, -1.0]


def test_values_and_bottom_centre() -> None:
    detections = decode_detections(outputs_of([[0, -5]], [raw_box(x=7, y=-3, z=0.25)]), CODER)
    np.testing.assert_allclose(detections.boxes[0], [7, -3, -0.75, 1.5, 4, 2, np.pi / 2, 3, -1], atol=1e-6)
    np.testing.assert_allclose(detections.scores, [0.5, 1 / (1 + np.exp(5))], atol=1e-7)
    assert detections.labels.tolist() == [0, 1]


def test_range_is_inclusive_and_on_the_gravity_centre() -> None:
    edge, beyond = 61.2, np.nextafter(np.float32(61.2), np.float32(100))
    tall_on_the_floor = raw_box(z=-10.0, height=8.0)
    outputs = outputs_of([[3, -9], [2, -9], [1, -9]], [raw_box(x=edge), raw_box(x=beyond), tall_on_the_floor])
    detections = decode_detections(outputs, dataclasses.replace(CODER, max_num=3))
    np.testing.assert_allclose(detections.boxes[:, 0], [61.2, 0])
    np.testing.assert_allclose(detections.boxes[1, 2], -14.0, atol=1e-5)


def test_threshold_is_honoured_as_given() -> None:
    outputs = outputs_of([[0, -1], [-2, -3]], [raw_box(), raw_box()])
    assert len(decode_detections(outputs, CODER).scores) == 4
    assert len(decode_detections(outputs, CODER, score_threshold=0.5).scores) == 0
    assert decode_detections(outputs, CODER, score_threshold=0.49).scores.tolist() == [0.5]
    strict = dataclasses.replace(CODER, score_threshold=0.9)
    assert decode_detections(outputs, strict).boxes.shape == (0, 9)
    assert len(decode_detections(outputs, strict, score_threshold=0.0).scores) == 4


def test_equal_scores_keep_the_order_of_query_then_class() -> None:
    outputs = outputs_of([[1, 1], [1, 1], [1, 1]], [raw_box(x=x) for x in (0, 1, 2)])
    detections = decode_detections(outputs, CODER)
    assert detections.boxes[:, 0].tolist() == [0, 0, 1, 1]
    assert detections.labels.tolist() == [0, 1, 0, 1]


def test_values_that_are_not_finite_are_no_detections() -> None:
    infinite_size = raw_box(height=1.0)
    infinite_size[3] = 200.0
    outputs = outputs_of(
        [[np.nan, 1], [np.inf, -np.inf], [2, -9]],
        [raw_box(x=np.nan), infinite_size, raw_box(x=5)],
    )
    detections = decode_detections(outputs, dataclasses.replace(CODER, max_num=6))
    assert detections.boxes[:, 0].tolist() == [5, 5]
    assert np.isfinite(detections.scores).all()


def test_more_boxes_asked_than_there_are() -> None:
    assert len(decode_detections(outputs_of([[1, 2]], [raw_box()]), CODER).scores) == 2
