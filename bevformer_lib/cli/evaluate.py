"""`bevformer evaluate`: how much of the float model a compiled one keeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import CellsXY, Device, FirstScene, Fraction, LastScene, Npu
from bevformer_lib.plain_data import to_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from bevformer_lib.detections.types import SceneEvaluation
    from bevformer_lib.evaluate.summary import EvaluationSummary
    from bevformer_lib.metrics.lost_camera import LostCamera
    from bevformer_lib.metrics.metric_types import DetectionMetrics
    from bevformer_lib.progress import ProgressCallback


def command(
    reference: Path,
    candidate: Path,
    config_json: Path,
    scenes: Path,
    /,
    *,
    output: Path,
    runtime: str = "onnxruntime",
    device: Device | None = None,
    npu: Npu | None = None,
    score_thr: Fraction | None = None,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
    host_rotate_center: CellsXY | None = None,
    drop_camera: str | None = None,
) -> None:
    """Run both models over scenes, each fed its own prev_bev states, and compare outputs and boxes frame by frame.

    Args:
        reference: the float model, run by ONNX Runtime; or the folder of its outputs that bevformer record wrote, for
            machines that can't run it.
        candidate: the model that was made from it.
        config_json: inference config of both.
        scenes: folder of scenes; where they carry gt_boxes, precision and recall are counted too.
        output: JSON file to write: everything about every frame, and the summary.
        runtime: what executes the candidate: onnxruntime, axengine on a board, or pulsar2, the vendor's simulator.
        device: where ONNX Runtime runs models: cpu (also if left out), cuda or cuda:N.
        npu: which NPU axengine uses: board, card or card:N; the board's, or else the first card, if left out.
        score_thr: boxes at or below this score are dropped; without it the config's own threshold holds, if
            any.
        start_scene: first scene to run, counted from 0.
        end_scene: scene to stop before.
        host_rotate_center: rotate the candidate's prev_bev here, about this x and y in cells, for models that don't do
            it themselves (the vendor's exported ones: 100 100).
        drop_camera: measure NDS and mAP too, with all cameras and without this one, whose images are black then: its
            name, or all for each in turn.
    """
    import dataclasses

    from rich.console import Console

    from bevformer_lib.backends.runtimes import open_reference, open_runtime
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.inference_config import read_inference_config
    from bevformer_lib.errors import ConfigError
    from bevformer_lib.evaluate.scene import evaluate_scene
    from bevformer_lib.evaluate.summary import summarize
    from bevformer_lib.files import require_new_file, write_json
    from bevformer_lib.metrics.both_models import score_both
    from bevformer_lib.metrics.lost_camera import LostCamera, cameras_to_drop, objects_shown
    from bevformer_lib.runtime.contract import check_model
    from bevformer_lib.runtime.host import HostPreparation, HostRotation
    from bevformer_lib.scenes.preprocess import Preprocessor
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    require_new_file(output)
    config = read_inference_config(config_json)
    candidate_runtime = open_runtime(runtime, candidate, device=device, npu=npu)
    check_model(candidate_runtime, config, candidate)
    reference_runtime = open_reference(reference, device=device)
    geometry = check_model(reference_runtime, config, reference)
    dropped = cameras_to_drop(drop_camera, geometry.num_cams)
    if dropped and reference.is_dir():
        raise ConfigError(f"{reference}: a recording holds no frames without a camera; give the float model itself")
    rotation = HostRotation((config.bev_h, config.bev_w), host_rotate_center) if host_rotate_center else None
    requirements = SceneRequirements(geometry.num_cams, geometry.image_hw, config.img_norm)

    def run_both(preprocessor: Preprocessor, on_progress: ProgressCallback) -> list[SceneEvaluation]:
        return [
            evaluate_scene(
                scene,
                reference=reference_runtime,
                candidate=candidate_runtime,
                config=config,
                preprocessor=preprocessor,
                score_threshold=score_thr,
                candidate_preparation=HostPreparation(config.img_norm, rotation),
                on_progress=on_progress,
            )
            for scene in found
        ]

    with progress_bar() as on_progress:
        found = read_scenes(scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
        complete = Preprocessor(geometry.image_hw, config.img_norm)
        evaluations = run_both(complete, on_progress)
        metrics = score_both(found, evaluations, on_progress=on_progress) if dropped else None
        lost = []
        for camera in dropped:
            without = run_both(complete.without(camera), on_progress)
            both = score_both(found, without, complete=evaluations, on_progress=on_progress)
            lost.append(LostCamera(camera, *objects_shown(found, camera, geometry.image_hw), *both))
    summary = summarize(evaluations)
    files = {"reference": reference, "candidate": candidate, "config": config_json}
    content = {
        **{role: {"file": path.name, "sha256": _sha256_of_model(path)} for role, path in files.items()},
        "summary": dataclasses.asdict(summary),
        "scenes": [to_plain(evaluation) for evaluation in evaluations],
    }
    if metrics is not None:
        content["metrics"] = {"reference": metrics[0].to_dict(), "candidate": metrics[1].to_dict()}
        content["lost_cameras"] = [to_plain(one) for one in lost]
    write_json(output, content)
    console = Console(markup=False, highlight=False)
    tables = [fidelity_table(summary), detection_table(summary), latency_table(summary)]
    if metrics is not None:
        tables.append(lost_camera_table(metrics, lost))
    for table in tables:
        console.print(table)
    console.print(f"{summary.frames} frames of {summary.scenes} scenes compared: {output}", soft_wrap=True)
    _require_finite(summary, output)


def _require_finite(summary: EvaluationSummary, output: Path) -> None:
    from bevformer_lib.errors import RuntimeUnavailableError

    for name, found_output in summary.outputs.items():
        if found_output.not_finite_at is not None:
            place = found_output.not_finite_at
            raise RuntimeUnavailableError(
                f"{name} is NaN or infinite in {found_output.frames_not_finite} of {summary.frames} frames, first in "
                f"frame {place.index} of {place.scene}; what {output} says of boxes and metrics holds for no model"
            )


def _sha256_of_model(path: Path) -> str:
    """Return the digest of a file, or of the model that a recording was made of."""
    from bevformer_lib.files import sha256_of_file
    from bevformer_lib.runtime.recorded import RecordedRuntime

    return RecordedRuntime(path).model_sha256 if path.is_dir() else sha256_of_file(path)


def fidelity_table(summary: EvaluationSummary) -> Table:
    """Return a row per output."""
    from rich.table import Table

    from bevformer_lib.report import numbers

    table = Table("output", title="Fidelity", title_justify="left")
    for column in ("cosine, mean", "worst", "relative error, mean", "worst", "at"):
        table.add_column(column, justify="left" if column == "at" else "right")
    for name, output in summary.outputs.items():
        place = output.not_finite_at or output.worst_relative_error_at
        where = f"{place.scene}, frame {place.index}" if place else numbers.UNDEFINED
        table.add_row(
            name,
            numbers.cosine(output.mean_cosine),
            numbers.cosine(output.worst_cosine),
            numbers.error(output.mean_relative_error),
            numbers.error(output.worst_relative_error),
            f"{output.frames_not_finite} frames not finite, first {where}" if output.frames_not_finite else where,
        )
    return table


def detection_table(summary: EvaluationSummary) -> Table:
    """Return a row per model: its boxes, how many the other has too, and how they do against annotations."""
    from rich.table import Table

    from bevformer_lib.evaluate.summary import total_counts
    from bevformer_lib.report import numbers

    threshold = "no score threshold" if summary.score_threshold is None else f"score > {summary.score_threshold}"
    table = Table("model", title=f"Detections ({threshold})", title_justify="left")
    for column in ("boxes", "in common", "precision", "recall", "F1"):
        table.add_column(column, justify="right")
    agreement, truth = summary.agreement, summary.truth
    rows = (
        (
            "reference",
            agreement.reference_boxes,
            agreement.reference_matched_share,
            truth.reference if truth else {},
        ),
        (
            "candidate",
            agreement.candidate_boxes,
            agreement.candidate_matched_share,
            truth.candidate if truth else {},
        ),
    )
    for name, boxes, matched_share, by_class in rows:
        counts = total_counts(list(by_class.values()))
        scores = (counts.precision, counts.recall, counts.f1) if truth else (None, None, None)
        table.add_row(
            name, numbers.count(boxes), numbers.percent(matched_share), *(numbers.decimals(score) for score in scores)
        )
    return table


def latency_table(summary: EvaluationSummary) -> Table:
    """Return a row per stage; scenes' first frames are left out as warm-up."""
    from rich.table import Table

    from bevformer_lib.report import numbers

    table = Table("stage", title="Time per frame", title_justify="left")
    for column in ("median", "95th percentile", "frames"):
        table.add_column(column, justify="right")
    for stage, latency in summary.latency.items():
        table.add_row(
            stage,
            numbers.seconds(latency.median_s if latency else None),
            numbers.seconds(latency.p95_s if latency else None),
            str(latency.frames if latency else 0),
        )
    return table


def lost_camera_table(metrics: tuple[DetectionMetrics, DetectionMetrics], lost: Sequence[LostCamera]) -> Table:
    """Return mAP and NDS of both models: a row with all cameras, and a row without each that was dropped."""
    from rich.table import Table

    from bevformer_lib.report import numbers

    reference, candidate = metrics
    table = Table(title=f"A camera lost, against {candidate.truth}", title_justify="left")
    table.add_column("black camera", no_wrap=True)
    for column in ("shows", "alone", "mAP, ref.", "mAP", "change", "NDS", "change"):
        table.add_column(column, justify="right")
    rows = [("none", numbers.UNDEFINED, numbers.UNDEFINED, reference, candidate)]
    rows += [(one.camera, str(one.objects), str(one.alone), one.reference, one.candidate) for one in lost]
    for name, objects, alone, before, after in rows:
        table.add_row(
            name,
            objects,
            alone,
            numbers.decimals(before.mean_ap),
            numbers.decimals(after.mean_ap),
            numbers.signed(after.mean_ap - candidate.mean_ap),
            numbers.decimals(after.nds),
            numbers.signed(after.nds - candidate.nds),
        )
    return table
