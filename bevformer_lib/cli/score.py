"""`bevformer score`: NDS and mAP of detections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import Fraction

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.detections.detections_folder import SceneDetections
    from bevformer_lib.metrics.metric_types import DetectionMetrics, TruePositiveErrors
    from bevformer_lib.progress import ProgressCallback


def command(
    detections: Path,
    scenes: Path,
    /,
    *,
    output: Path,
    nuscenes_root: Path | None = None,
    version: str = "v1.0-mini",
    split: str | None = None,
    results: Path | None = None,
    use_camera: bool = True,
    use_lidar: bool = False,
    use_radar: bool = False,
    use_map: bool = False,
    use_external: bool = True,
    reference: Path | None = None,
    reference_score_thr: Fraction = 0.3,
) -> None:
    """Score what `bevformer infer` wrote by nuScenes' detection metric: NDS, mAP, per class, distance and scene.

    The truth is the scenes' own annotations (gt_boxes), or with --nuscenes-root the dataset's, by sample tokens. For
    scenes without any, --reference gives the float model's boxes to measure agreement with. Run infer with
    --score-thr 0: every box that a threshold drops lowers the metric. Needs nuscenes-devkit (the extra "nuscenes").

    Args:
        detections: folder that infer wrote.
        scenes: folder of the same scenes.
        output: JSON file to write.
        nuscenes_root: the dataset's root; the official way to score.
        version: name of the dataset's folder of tables.
        split: with --nuscenes-root, insist on exactly the samples of this split.
        results: with --nuscenes-root, write nuScenes' results file here, ready for submission.
        use_camera: what the results file says of cameras.
        use_lidar: what the results file says of the LiDAR.
        use_radar: what the results file says of radars.
        use_map: what the results file says of maps.
        use_external: what the results file says of data other than nuScenes', weights that were trained on it
            included; true as in the original's configs.
        reference: folder that infer wrote for the float model; for scenes without annotations.
        reference_score_thr: the reference's boxes above this score count as objects.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.detections.detections_folder import read_detections
    from bevformer_lib.files import require_new_file, write_json

    _check_options(nuscenes_root, split, results, reference)
    for path in (output, results):
        if path is not None:
            require_new_file(path)
    found = read_detections(detections)
    meta = {
        "use_camera": use_camera,
        "use_lidar": use_lidar,
        "use_radar": use_radar,
        "use_map": use_map,
        "use_external": use_external,
    }
    with progress_bar() as on_progress:
        if nuscenes_root is not None:
            metrics = _score_dataset(found, nuscenes_root, version, split, results, meta, on_progress)
        else:
            metrics = _score_scenes(found, scenes, reference, reference_score_thr, on_progress)
    write_json(output, metrics.to_dict())
    console = Console(markup=False, highlight=False)
    for table in (class_table(metrics), error_table(metrics), subset_table(metrics)):
        console.print(table)
    for line in remarks(metrics, found[0].score_threshold):
        console.print(line, soft_wrap=True)
    console.print(f"{metrics.frames} frames of {len(metrics.scenes)} scenes scored: {output}", soft_wrap=True)
    if results is not None:
        used = ", ".join(name for name, is_used in meta.items() if is_used)
        console.print(f"{results}: says {used or 'that nothing was used'}; options change that", soft_wrap=True)


def class_table(metrics: DetectionMetrics) -> Table:
    """Return average precision: a row per class and a row of means."""
    from rich.table import Table

    from bevformer_lib.report import numbers

    title = f"NDS {metrics.nds:.4f}, mAP {metrics.mean_ap:.4f}, against {metrics.truth}"
    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("class", footer="mean", no_wrap=True)
    table.add_column("boxes", footer=numbers.count(metrics.ground_truth), justify="right")
    table.add_column("AP", footer=numbers.decimals(metrics.mean_ap), justify="right")
    for distance in next(iter(metrics.classes.values())).ap_at_m:
        table.add_column(f"{distance:g} m", justify="right")
    for name, scored in metrics.classes.items():
        values = (scored.ap, *scored.ap_at_m.values())
        table.add_row(name, numbers.count(scored.ground_truth), *(numbers.decimals(value) for value in values))
    return table


def error_table(metrics: DetectionMetrics) -> Table:
    """Return the errors of true positives: a row per class and a row of means."""
    from rich.table import Table

    from bevformer_lib.report import numbers

    table = Table(title="Errors of boxes that match within 2 m", title_justify="left", show_footer=True)
    table.add_column("class", footer="mean", no_wrap=True)
    names = ("mATE, m", "mASE", "mAOE, rad", "mAVE, m/s", "mAAE")
    for name, mean in zip(names, _errors(metrics.errors), strict=True):
        table.add_column(name, footer=numbers.decimals(mean), justify="right")
    for class_name, scored in metrics.classes.items():
        table.add_row(class_name, *(numbers.decimals(value) for value in _errors(scored.errors)))
    return table


def subset_table(metrics: DetectionMetrics) -> Table:
    """Return a row per band of distance and per scene; means over the classes annotated there."""
    from rich.table import Table

    from bevformer_lib.report import numbers

    table = Table("part", title="Of the classes annotated there", title_justify="left")
    for column in ("frames", "boxes", "mAP", "NDS"):
        table.add_column(column, justify="right")
    bands = {f"{band.nearest_m:g} to {band.farthest_m:g} m": band.metrics for band in metrics.bands}
    for name, part in {**bands, **metrics.scenes}.items():
        scores = (numbers.decimals(part.mean_ap), numbers.decimals(part.nds))
        table.add_row(name, numbers.count(part.frames), numbers.count(part.ground_truth), *scores)
    return table


def remarks(metrics: DetectionMetrics, score_threshold: float) -> list[str]:
    """Return what has to be known to read the numbers."""
    lines = []
    if metrics.classes_without_truth:
        named = ", ".join(metrics.classes_without_truth)
        lines.append(f"not annotated, and so 0 in the mean as nuScenes has it: {named}")
    if score_threshold > 0.0:
        lines.append(
            f"boxes with a score of {score_threshold:g} or less were not written; 'infer --score-thr 0' has all"
        )
    return lines


def _check_options(nuscenes_root: Path | None, split: str | None, results: Path | None, reference: Path | None) -> None:
    from bevformer_lib.errors import ConfigError

    if nuscenes_root is None and (split is not None or results is not None):
        raise ConfigError("--split and --results go by sample tokens of a dataset; give --nuscenes-root")
    if nuscenes_root is not None and reference is not None:
        raise ConfigError("--reference is for scenes without annotations; leave it or --nuscenes-root out")


def _score_dataset(
    found: tuple[SceneDetections, ...],
    root: Path,
    version: str,
    split: str | None,
    results_path: Path | None,
    meta: Mapping[str, bool],
    on_progress: ProgressCallback,
) -> DetectionMetrics:
    from bevformer_lib.errors import BevformerError
    from bevformer_lib.metrics.nuscenes_results import check_split, results_of, score_results, write_results
    from bevformer_lib.nuscenes.devkit import open_dataset

    dataset = open_dataset(root, version)
    by_token = []
    for scene in found:
        for frame in scene.frames:
            if frame.sample_token is None:
                raise BevformerError(
                    f"{scene.path}: frame {frame.index} has no sample token; leave --nuscenes-root out"
                )
            by_token.append((frame.sample_token, frame.detections))
    results = results_of(dataset, by_token, found[0].class_names, meta)
    if split is not None:
        check_split(dataset, results, split)
    if results_path is not None:
        write_results(results_path, results)
    return score_results(dataset, results, on_progress=on_progress)


def _score_scenes(
    found: tuple[SceneDetections, ...],
    folder: Path,
    reference: Path | None,
    reference_score_thr: float,
    on_progress: ProgressCallback,
) -> DetectionMetrics:
    from bevformer_lib.detections.detections_folder import detections_of_scenes, read_detections
    from bevformer_lib.metrics.detection_metrics import score_agreement, score_scenes
    from bevformer_lib.scenes.metas import read_metas

    scenes = read_metas(folder, [scene.scene for scene in found])
    class_names = found[0].class_names
    detections = detections_of_scenes(found, scenes)
    if reference is None or any(frame.gt_boxes is not None for scene in scenes for frame in scene.frames):
        return score_scenes(scenes, detections, class_names, on_progress=on_progress)
    truth = detections_of_scenes(read_detections(reference), scenes)
    return score_agreement(
        scenes, detections, truth, class_names, score_threshold=reference_score_thr, on_progress=on_progress
    )


def _errors(errors: TruePositiveErrors) -> tuple[float | None, ...]:
    return errors.translation, errors.scale, errors.orientation, errors.velocity, errors.attribute
