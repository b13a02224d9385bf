"""One class: matching by centre distance, AP and true-positive errors, by nuScenes' rules.

Predictions are matched in the order of their scores, of equal scores the later box first, each to the nearest
annotation of its frame that is still free. Only pairs nearer than the match distance can match, so they are found once
and the loop runs over them alone. Source: `accumulate`, `calc_ap` and `calc_tp` of nuscenes-devkit 1.2, with which the
tests compare every figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.metrics.box_table import BoxTable
from bevformer_lib.metrics.constants import (
    ERROR_DISTANCE_M,
    HALF_TURN_CLASS,
    MATCH_DISTANCES_M,
    MIN_PRECISION,
    MIN_RECALL,
    RECALLS,
    UNDEFINED_ERRORS,
)
from bevformer_lib.metrics.metric_types import ERROR_NAMES, ClassMetrics, PrecisionRecall, TruePositiveErrors

_FIRST = round(100 * MIN_RECALL) + 1
"""The first point of a curve that counts: the one after the smallest recall."""


@dataclass(frozen=True)
class ClassPairs:
    """The boxes of one class, and which of them are near each other.

    Attributes:
        truth: annotations.
        found: predictions, in the order they are matched in.
        given: (m,) index into ``found`` of every pair; ascending, then by distance, then by ``wanted``.
        wanted: (m,) index into ``truth``.
        distance_m: (m,) in the ground plane, below the largest match distance.
    """

    name: str
    truth: BoxTable
    found: BoxTable
    given: NDArray[np.int64]
    wanted: NDArray[np.int64]
    distance_m: NDArray[np.float64]


def pairs_of_class(name: str, truth: BoxTable, found: BoxTable) -> ClassPairs:
    """Return the pairs of a class's boxes that can match; both tables hold that class alone."""
    order = np.lexsort((np.arange(len(found)), found.score))[::-1]
    ranked = BoxTable(**{key: column[order] for key, column in vars(found).items()})
    by_frame = np.argsort(ranked.frame, kind="stable")
    starts = np.searchsorted(ranked.frame[by_frame], np.arange(ranked.frame.max(initial=-1) + 2))
    given, wanted, distances = [], [], []
    for number in np.intersect1d(truth.frame, ranked.frame):
        theirs = by_frame[starts[number] : starts[number + 1]]
        first, last = np.searchsorted(truth.frame, [number, number + 1])
        offset = ranked.center_m[theirs, None, :2] - truth.center_m[None, first:last, :2]
        distance = np.sqrt(np.sum(offset**2, axis=2))
        row, column = np.nonzero(distance < max(MATCH_DISTANCES_M))
        given.append(theirs[row])
        wanted.append(column + first)
        distances.append(distance[row, column])
    pair_given = np.concatenate(given) if given else np.zeros(0, dtype=np.int64)
    pair_wanted = np.concatenate(wanted) if wanted else np.zeros(0, dtype=np.int64)
    distance = np.concatenate(distances) if distances else np.zeros(0)
    sort = np.lexsort((pair_wanted, distance, pair_given))
    return ClassPairs(name, truth, ranked, pair_given[sort], pair_wanted[sort], distance[sort])


def score_class(pairs: ClassPairs, truth_kept: NDArray[np.bool_], found_kept: NDArray[np.bool_]) -> ClassMetrics:
    """Score a class over some of its boxes.

    Args:
        pairs: the class.
        truth_kept: (n,) which annotations count.
        found_kept: (n,) which predictions of ``pairs.found`` count.
    """
    curves = []
    ap_at_m = {}
    errors: list[float | None] = [1.0] * len(ERROR_NAMES)
    kept = truth_kept[pairs.wanted] & found_kept[pairs.given]
    scores = pairs.found.score[found_kept]
    for limit in MATCH_DISTANCES_M:
        near = kept & (pairs.distance_m < limit)
        given, wanted = greedy_matches(pairs.given[near], pairs.wanted[near])
        is_match = np.zeros(len(pairs.found), dtype=np.bool_)
        is_match[given] = True
        precision, confidence = _curve(is_match[found_kept], scores, int(truth_kept.sum()))
        curves.append(PrecisionRecall(limit, tuple(precision.tolist()), tuple(confidence.tolist())))
        counted = np.clip(precision[_FIRST:] - MIN_PRECISION, 0.0, None)
        ap_at_m[limit] = float(np.mean(counted)) / (1.0 - MIN_PRECISION)
        if limit == ERROR_DISTANCE_M and len(given):
            errors = [
                _mean_error(error, pairs.found.score[given], confidence)
                for error in _errors_of_matches(pairs, given, wanted)
            ]
    undefined = UNDEFINED_ERRORS.get(pairs.name, ())
    return ClassMetrics(
        ground_truth=int(truth_kept.sum()),
        predictions=int(found_kept.sum()),
        ap=float(np.mean(list(ap_at_m.values()))),
        ap_at_m=ap_at_m,
        errors=TruePositiveErrors(
            *(None if name in undefined else error for name, error in zip(ERROR_NAMES, errors, strict=True))
        ),
        curves=tuple(curves),
    )


def greedy_matches(given: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Match greedily, in the pairs' order; return both sides of the matches, best score first."""
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for prediction, annotation in zip(given.tolist(), wanted.tolist(), strict=True):
        if prediction not in matched and annotation not in taken:
            matched[prediction] = annotation
            taken.add(annotation)
    return np.array(list(matched), dtype=np.int64), np.array(list(matched.values()), dtype=np.int64)


def _curve(
    is_match: NDArray[np.bool_], scores: NDArray[np.float64], annotated: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and confidence at each recall; zeros where nothing matches."""
    if not is_match.any():
        return np.zeros(RECALLS), np.zeros(RECALLS)
    true = np.cumsum(is_match).astype(np.float64)
    recall = true / annotated
    grid = np.linspace(0.0, 1.0, RECALLS)
    precision = np.interp(grid, recall, true / np.arange(1, len(true) + 1), right=0.0)
    return precision, np.interp(grid, recall, scores, right=0.0)


def _errors_of_matches(
    pairs: ClassPairs, given: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:
    """Return the five errors of each match, in the order of ``ERROR_NAMES``; NaN where the annotation lacks a value."""
    found, truth = pairs.found, pairs.truth
    offset = found.center_m[given, :2] - truth.center_m[wanted, :2]
    speed = found.velocity_mps[given] - truth.velocity_mps[wanted]
    common = np.prod(np.minimum(found.size_m[given], truth.size_m[wanted]), axis=1)
    union = np.prod(found.size_m[given], axis=1) + np.prod(truth.size_m[wanted], axis=1) - common
    period = math.pi if pairs.name == HALF_TURN_CLASS else 2.0 * math.pi
    turn = _yaw_rad(truth.rotation[wanted]) - _yaw_rad(found.rotation[given])
    attribute = (truth.attribute[wanted] != found.attribute[given]).astype(np.float64)
    attribute[truth.attribute[wanted] == ""] = np.nan
    return (
        np.sqrt(np.sum(offset**2, axis=1)),
        1.0 - common / union,
        np.abs((turn + period / 2.0) % period - period / 2.0),
        np.sqrt(np.sum(speed**2, axis=1)),
        attribute,
    )


def _yaw_rad(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,): where quaternions (n, 4) turn the x axis to, seen from above."""
    w, x, y, z = rotation.T
    return np.asarray(np.arctan2(2.0 * (x * y + w * z), w * w + x * x - y * y - z * z))


def _mean_error(
    error: NDArray[np.float64], scores: NDArray[np.float64], confidence: NDArray[np.float64]
) -> float | None:
    """Average the running mean of an error from the smallest to the highest recall; ``None`` where it is not finite."""
    last = int(np.flatnonzero(confidence)[-1]) if confidence.any() else 0
    if last < _FIRST:
        return 1.0
    known = ~np.isnan(error)
    if known.any():
        sums, counts = np.nancumsum(error), np.cumsum(known)
        running = np.divide(sums, counts, out=np.zeros_like(sums), where=counts != 0)
    else:
        running = np.ones(len(error))
    resampled = np.interp(confidence[::-1], scores[::-1], running[::-1])[::-1]
    mean = float(np.mean(resampled[_FIRST : last + 1]))
    return mean if math.isfinite(mean) else None
