"""Synthetic evaluations, for the tests of everything that reads one."""

from __future__ import annotations

import numpy as np

from bevformer_lib.detections.types import (
    Agreement,
    ClassCounts,
    Detections,
    FrameEvaluation,
    FrameSeconds,
    SceneEvaluation,
    TruthComparison,
)
from bevformer_lib.fidelity import Fidelity
from bevformer_lib.names import OUTPUT_NAMES
from tests.support.micro import CLASS_NAMES


def random_detections(random: np.random.Generator, count: int) -> Detections:
    boxes = random.normal(scale=20, size=(count, 9)).astype(np.float32)
    boxes[:, 3:6] = np.abs(boxes[:, 3:6])
    return Detections(
        boxes=boxes,
        scores=np.sort(random.uniform(0.1, 0.9, count).astype(np.float32))[::-1].copy(),
        labels=random.integers(0, len(CLASS_NAMES), count),
    )


def make_frame(
    position: int, random: np.random.Generator, *, truth: bool = True, broken: bool = False
) -> FrameEvaluation:
    """A frame whose error grows with its position; ``broken``: the candidate gave NaN."""
    error = 0.01 * (1 + 0.1 * position) * (1 + 0.1 * float(random.uniform()))
    fidelity = {
        name: Fidelity(None, None, None, 7) if broken else Fidelity(1 - error**2 / 2, error, 3 * error, 0)
        for name in OUTPUT_NAMES
    }
    counts = {"car": ClassCounts(4, 5, 3), "pedestrian": ClassCounts(2, 1, 1)}
    return FrameEvaluation(
        index=10 + position,
        fidelity=fidelity,
        agreement=Agreement(6, 5, 5, 0.5, 0.1),
        truth=TruthComparison(reference=counts, candidate=dict(counts)) if truth else None,
        seconds=FrameSeconds(decode=0.02 + 0.001 * position, reference=0.4 + 0.01 * position, candidate=0.3),
        reference=random_detections(random, 6),
        candidate=random_detections(random, 5),
    )


def make_scene(name: str, num_frames: int, *, truth: bool = True, broken_at: int | None = None) -> SceneEvaluation:
    """A scene of synthetic frames; same arguments, same values."""
    random = np.random.default_rng([num_frames, *name.encode()])
    return SceneEvaluation(
        scene=name,
        class_names=CLASS_NAMES,
        score_threshold=0.1,
        match_distance_m=2.0,
        frames=tuple(
            make_frame(position, random, truth=truth, broken=position == broken_at) for position in range(num_frames)
        ),
    )
