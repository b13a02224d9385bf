"""nuScenes' official results file, and its score against the database's own annotations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bevformer_lib.detections.types import Detections
from bevformer_lib.errors import BevformerError
from bevformer_lib.files import atomic_path
from bevformer_lib.metrics.detection_metrics import check_classes, score_boxes
from bevformer_lib.metrics.eval_boxes import predictions_as_records
from bevformer_lib.metrics.metric_types import ANNOTATIONS, DetectionMetrics
from bevformer_lib.nuscenes.devkit import LIDAR_CHANNEL, samples_of_scene, scenes_of_split
from bevformer_lib.nuscenes.poses import sensor_pose
from bevformer_lib.progress import ProgressCallback, no_progress

META: Final = {
    "use_camera": True,
    "use_lidar": False,
    "use_radar": False,
    "use_map": False,
    "use_external": True,
}
"""What BEVFormer uses, in the words of the results file, as its published configs say it (``input_modality``)."""
_NAMED_TOKENS: Final = 3


def results_of(
    dataset: Any,
    detections: Iterable[tuple[str, Detections]],
    class_names: Sequence[str],
    meta: Mapping[str, bool] = META,
) -> dict[str, Any]:
    """Return the content of a results file: boxes in the global frame by sample token.

    Args:
        dataset: a ``nuscenes.NuScenes``.
        detections: sample tokens and their boxes, each token once.
        class_names: in the order of the labels.
        meta: what was used for the detections, as :data:`META`.

    Raises:
        ConfigError: classes are none of nuScenes'.
        BevformerError: a sample is not in this dataset.
    """
    check_classes(class_names)
    results: dict[str, list[dict[str, Any]]] = {}
    for token, boxes in detections:
        try:
            sample = dataset.get("sample", token)
        except KeyError as error:
            raise BevformerError(
                f"sample {token} is not in {Path(dataset.dataroot) / dataset.version}; name the version that the "
                "scenes were extracted from"
            ) from error
        pose = sensor_pose(dataset, sample, LIDAR_CHANNEL)
        results[token] = predictions_as_records(boxes, class_names, token, pose.sensor_to_global)
    return {"meta": dict(meta), "results": results}


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write a results file atomically, without white space: it holds millions of numbers."""
    text = json.dumps(results, allow_nan=False, separators=(",", ":"))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_split(dataset: Any, results: dict[str, Any], split: str) -> None:
    """Check that results cover a split and nothing else, as a submission has to.

    Raises:
        SceneError: the split is not in this dataset.
        BevformerError: samples are missing, or too many.
    """
    wanted = {
        sample["token"] for scene in scenes_of_split(dataset, split) for sample in samples_of_scene(dataset, scene)
    }
    given = set(results["results"])
    for what, tokens in (("lack", wanted - given), ("hold too many: not in the split are", given - wanted)):
        if tokens:
            named = ", ".join(sorted(tokens)[:_NAMED_TOKENS])
            raise BevformerError(
                f"the detections {what} {len(tokens)} samples, such as {named}; run 'bevformer infer' over all "
                f"scenes of split {split} and no others"
            )


def score_results(
    dataset: Any, results: dict[str, Any], *, on_progress: ProgressCallback = no_progress
) -> DetectionMetrics:
    """Score a results file against the database, over the samples that it holds.

    Over the samples of a whole split this is what ``DetectionEval`` gives for the file.

    Raises:
        BevformerError: the samples have no annotations, as those of the test split.
    """
    from nuscenes.eval.common.loaders import load_gt_of_sample_tokens
    from nuscenes.eval.detection.data_classes import DetectionBox

    tokens = list(results["results"])
    if not dataset.sample_annotation:
        raise BevformerError(
            f"nuScenes {dataset.version} has no annotations; submit the results file to the evaluation server instead"
        )
    ground_truth = load_gt_of_sample_tokens(dataset, tokens, DetectionBox).serialize()
    scene_names = {token: dataset.get("scene", dataset.get("sample", token)["scene_token"])["name"] for token in tokens}
    return score_boxes(
        ground_truth,
        results["results"],
        dataset,
        scene_names,
        truth=ANNOTATIONS,
        on_progress=on_progress,
    )
