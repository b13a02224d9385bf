"""`bevformer infer`: detections, images and videos of a model over scenes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import (
    CellsXY,
    Device,
    FirstScene,
    Fraction,
    FramesPerSecond,
    LastScene,
    Npu,
    Seconds,
    Threads,
)

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.infer.infer import InferResult

_SCENES_NAMED = 5


def command(
    model: Path,
    config_json: Path,
    scenes: Path | None = None,
    /,
    *,
    output_dir: Path,
    source: Path | None = None,
    topics: Path | None = None,
    tolerance: Seconds = 0.05,
    frame_interval: Seconds | None = None,
    runtime: str = "onnxruntime",
    device: Device | None = None,
    npu: Npu | None = None,
    threads: Threads | None = None,
    score_thr: Fraction = 0.3,
    fps: FramesPerSecond = 2.0,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
    images: bool = True,
    video: bool = True,
    host_rotate_center: CellsXY | None = None,
) -> None:
    """Run a model over scenes, or a recording: per scene a JSON of detections, an image per frame and a video.

    Scenes that were finished before with the same model and settings are left alone; timings.json tells how long
    every stage took.

    Args:
        model: the compiled model.
        config_json: its inference_config.json.
        scenes: folder with a folder per scene; this or --source.
        output_dir: gets a folder per scene.
        source: an MCAP recording, or a bag's folder with one: six cameras, their calibrations, the car's pose and
            transforms.
        topics: YAML file that tells which topic of the recording is what, and which frame; found by names if left out.
        tolerance: how far apart in time the images of a frame, and its pose, may be, in seconds.
        frame_interval: take a frame of the recording every so many seconds (models are trained with 0.5); all, if
            left out.
        runtime: what runs the model: onnxruntime, axengine on a board, or pulsar2, the vendor's simulator.
        device: where ONNX Runtime runs it: cpu (also if left out), cuda or cuda:N.
        npu: which NPU axengine uses: board, card or card:N; the board's, or else the first card, if left out.
        threads: threads inside an operator of ONNX Runtime; its own choice if left out.
        score_thr: boxes with a score at or below are dropped.
        fps: frames per second of the videos.
        start_scene: position of the first scene to run, counted from 0.
        end_scene: position after the last one.
        images: write an image per frame.
        video: write a video per scene.
        host_rotate_center: rotate prev_bev here, about this x and y in cells, for models that don't do it themselves
            (the vendor's exported ones: 100 100).
    """
    import time

    from rich.console import Console

    from bevformer_lib.backends.runtimes import DEFAULT_DEVICE, ONNXRUNTIME
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.errors import ConfigError
    from bevformer_lib.files import require_writable_folder, sha256_of_file
    from bevformer_lib.infer.detector import LONGEST_GAP_S, Detector
    from bevformer_lib.infer.infer import infer_scenes
    from bevformer_lib.infer.scene_stages import InferModel, InferSettings
    from bevformer_lib.recordings.reader import RecordingOptions, read_recording
    from bevformer_lib.recordings.topics import Topics, read_topics
    from bevformer_lib.scenes.reader import read_scenes, select_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    if (scenes is None) == (source is None):
        raise ConfigError("give a folder of scenes, or --source and a recording; one of them")
    if source is None and (topics is not None or frame_interval is not None):
        raise ConfigError("--topics and --frame-interval tell how a recording is read; give it as --source")
    read = Topics() if topics is None else read_topics(topics)
    options = RecordingOptions(read, LONGEST_GAP_S, tolerance, frame_interval or 0.0)
    settings = InferSettings(score_threshold=score_thr, fps=fps, images=images, video=video)
    require_writable_folder(output_dir)
    started = time.perf_counter()
    detector = Detector(
        model,
        config_json,
        runtime=runtime,
        device=device,
        threads=threads,
        npu=npu,
        host_rotate_center=host_rotate_center,
        frame_threads=1,
    )
    load_seconds = time.perf_counter() - started
    made_with = {
        "model_sha256": sha256_of_file(model),
        "config_sha256": sha256_of_file(config_json),
        "runtime": runtime,
    }
    if runtime == ONNXRUNTIME:
        made_with["device"] = device or DEFAULT_DEVICE
    if npu is not None:
        made_with["npu"] = npu
    if host_rotate_center is not None:
        made_with["host_rotate_center"] = " ".join(map(str, host_rotate_center))
    bound = InferModel(detector, name=model.name, made_with=made_with, load_seconds=load_seconds)
    requirements = SceneRequirements(detector.num_cams, detector.image_hw, detector.config.img_norm)
    with progress_bar() as on_progress:
        if source is not None:
            recorded = read_recording(source, requirements, options, on_progress=on_progress)
            found = select_scenes(source, recorded, start_scene, end_scene)
        elif scenes is not None:
            found = read_scenes(
                scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress
            )
        result = infer_scenes(found, bound, settings, output_dir, on_progress=on_progress)
    console = Console()
    for line in summary_lines(result, output_dir, score_thr):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if result.inferred:
        console.print(f"model loaded in {load_seconds:.2f} s", highlight=False)
    if any(result.latency.values()):
        console.print("seconds of a frame, without the first of each scene:")
        console.print(latency_table(result))
    for line in throughput_lines(result):
        console.print(line, highlight=False, soft_wrap=True)


def summary_lines(result: InferResult, output_dir: Path, score_threshold: float) -> list[str]:
    """Return what was done and what was left alone, in one line each; and why nothing is drawn, if so."""
    lines = []
    if result.finished_before:
        lines.append(f"left alone, finished before: {_named(result.finished_before)}")
    if result.inferred:
        lines.append(
            f"{result.frames} frames of {_named(result.inferred)}: {result.boxes} boxes, written to {output_dir}"
        )
        if not result.boxes:
            lines.append(f"no box scores above {score_threshold:g}; a lower --score-thr and another folder show more")
    else:
        lines.append(f"nothing to do; the results are in {output_dir}")
    return lines


def latency_table(result: InferResult) -> Table:
    """Return a table of the stages of a frame; the CPU seconds of the host's, and their part of its whole work."""
    from rich.table import Table

    cpu = {} if result.throughput is None else result.throughput.host_cpu_seconds
    table = Table("stage")
    for title in ("median", "95 %", "CPU", "part of CPU"):
        table.add_column(title, justify="right")
    for stage, latency in result.latency.items():
        if latency is not None:
            row = [f"{latency.median_s:,.4f}", f"{latency.p95_s:,.4f}"]
            if stage in cpu and result.throughput is not None:
                row += [f"{cpu[stage]:,.4f}", f"{cpu[stage] / (result.throughput.host_total or 1.0):.0%}"]
            table.add_row(stage, *row)
    return table


def throughput_lines(result: InferResult) -> list[str]:
    """Return what the run reached, and what the host's work would take on a board."""
    from bevformer_lib.infer.stages import a55_slowdown

    if result.throughput is None:
        return []
    reached, slowdown = result.throughput, a55_slowdown()
    lines = [
        f"{reached.frames_per_second:.2f} frames/s: the model ran {reached.inference_share:.1%} of the time; the "
        f"host's work beside it took {reached.host_total:.3f} s of CPU a frame"
    ]
    if slowdown is not None:
        lines.append(
            f"on a Cortex-A55 about {reached.host_total * slowdown:.2f} s (scaled by {slowdown:g}, an estimate: see "
            "docs/infer.md)"
        )
    return lines


def _named(scenes: tuple[str, ...]) -> str:
    shown = ", ".join(scenes[:_SCENES_NAMED])
    rest = len(scenes) - _SCENES_NAMED
    return f"{len(scenes)} scene{'' if len(scenes) == 1 else 's'} ({shown}{f' and {rest} more' if rest > 0 else ''})"
