"""Raw graph outputs to boxes, as the original ``NMSFreeCoder`` and ``BEVFormerHead.get_bboxes`` do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import BoxCoderConfig
from bevformer_lib.detections.types import Detections
from bevformer_lib.names import OUTPUT_CLASSES, OUTPUT_COORDS


def decode_detections(
    outputs: Mapping[str, NDArray[Any]],
    box_coder: BoxCoderConfig,
    *,
    score_threshold: float | None = None,
) -> Detections:
    """Decode the last decoder layer of one frame.

    The ``max_num`` best of all query x class scores are taken, so that one query may give several boxes of
    different classes. Of these, boxes at or below the threshold and boxes whose gravity centre lies outside
    ``post_center_range`` (bounds included) are dropped, and only then z moves from the gravity centre to
    the bottom.

    Two departures from the original. Where nothing passes its threshold, the original lowers it in steps of
    0.9 until something does; here a threshold is what it says, and an empty frame is empty. And a box with
    a value that is not finite (a defect of a compiled model, found by the fidelity metrics) is no
    detection.

    Args:
        outputs: holds ``outputs_classes`` (layers, 1, queries, classes), logits, and ``outputs_coords``
            (layers, 1, queries, 10): cx, cy, log w, log l, cz, log h, sin, cos, vx, vy; metres in the LiDAR
            frame.
        box_coder: the model's decoding.
        score_threshold: replaces the threshold of ``box_coder``; ``None`` keeps that one (which may be none).

    Returns:
        Best score first; equal scores in the order of query, then class.
    """
    scores_by_query = _sigmoid(outputs[OUTPUT_CLASSES][-1, 0].astype(np.float32))
    num_classes = scores_by_query.shape[1]
    scores = scores_by_query.ravel()
    best = np.argsort(-scores, kind="stable")[: box_coder.max_num]
    scores = scores[best]
    boxes = denormalized_boxes(outputs[OUTPUT_COORDS][-1, 0].astype(np.float32)[best // num_classes])

    lower, upper = np.array(box_coder.post_center_range, dtype=np.float32).reshape(2, 3)
    kept = ((boxes[:, :3] >= lower) & (boxes[:, :3] <= upper)).all(axis=1)
    kept &= np.isfinite(scores) & np.isfinite(boxes).all(axis=1)
    threshold = box_coder.score_threshold if score_threshold is None else score_threshold
    if threshold is not None:
        kept &= scores > np.float32(threshold)

    boxes = boxes[kept]
    boxes[:, 2] -= boxes[:, 5] * np.float32(0.5)
    return Detections(boxes=boxes, scores=scores[kept], labels=(best % num_classes)[kept].astype(np.int64))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logistic function without overflow; NaN stays NaN."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, np.float32(1), small) / (1 + small), dtype=np.float32)


def denormalized_boxes(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn (n, 10) regression values into (n, 9) boxes of :class:`Detections`, but with z at the gravity centre."""
    cx, cy, log_w, log_l, cz, log_h, sin_yaw, cos_yaw, vx, vy = raw.T
    with np.errstate(over="ignore"):
        size_wlh_m = np.exp(np.stack([log_w, log_l, log_h]))
    yaw_rad = np.arctan2(sin_yaw, cos_yaw)
    return np.stack([cx, cy, cz, *size_wlh_m, yaw_rad, vx, vy], axis=1)
