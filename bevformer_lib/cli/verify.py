"""`bevformer verify`: our model and the exported graph against the original code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import Count, FirstScene, LastScene, PositiveFraction
from bevformer_lib.errors import VerifyError

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.verify.report import TensorComparison, VerifyReport

DEFAULT_TOLERANCE = 1e-4


def command(
    *,
    plugin_dir: Path,
    config: Path,
    checkpoint: Path,
    scenes: Path,
    onnx: Path | None = None,
    output: Path | None = None,
    frames: Count = 3,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
    image_size: str | None = None,
    tolerance: PositiveFraction = DEFAULT_TOLERANCE,
) -> None:
    """Run the ORIGINAL BEVFormer on scenes and compare our model, and an exported graph, with it tensor by tensor.

    THIS EXECUTES CODE FROM ELSEWHERE: the plugin that you name, and the config, which the original's own loader runs.
    No other command does. Name only a checkout and a config that you trust. The checkpoint is read without executing
    anything. Exit status 1 if a tensor is farther off than the tolerance; the first one is named.

    Args:
        plugin_dir: folder `projects` of a checkout of the original BEVFormer. ITS CODE IS EXECUTED: name one you trust.
        config: config file of the original (.py or .json). The original's loader EXECUTES it.
        checkpoint: the .pth file with the weights, for both models.
        scenes: folder of scenes to run.
        onnx: exported graph to compare as well.
        output: .json file to write every figure to.
        frames: frames to run from the start of each scene.
        start_scene: position of the first scene, counted from 0.
        end_scene: position after the last one.
        image_size: padded image size HxW in pixels, instead of the config's own.
        tolerance: largest norm of the difference over norm that is no divergence.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.files import require_new_file, write_json
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements
    from bevformer_lib.verify.openmmlab import build_original, check_packages
    from bevformer_lib.verify.sides import open_graph
    from bevformer_lib.verify.verify import verify

    if output is not None:
        require_new_file(output)
    check_packages()
    model_config = load_model_config(str(config), image_hw=parse_image_size(image_size))
    graph = None if onnx is None else open_graph(onnx, model_config)
    with progress_bar() as on_progress:
        found = read_scenes(
            scenes,
            SceneRequirements.of_model(model_config),
            start_scene=start_scene,
            end_scene=end_scene,
            on_progress=on_progress,
        )
        original = build_original(config, plugin_dir, checkpoint)
        report = verify(
            original,
            model_config,
            checkpoint,
            found,
            graph=graph,
            frames_per_scene=frames,
            tolerance=tolerance,
            on_progress=on_progress,
        )
    if output is not None:
        write_json(output, report.to_dict())
    Console(markup=False, highlight=False).print(report_table(report))
    divergences = [item for candidate in report.candidates if (item := report.first_divergence(candidate))]
    if divergences:
        raise VerifyError("; ".join(describe(item, report.tolerance) for item in divergences))


def describe(divergence: TensorComparison, tolerance: float) -> str:
    """Return a sentence that names a divergence."""
    return (
        f"{divergence.candidate} first diverges from the original at '{divergence.tensor}' in frame "
        f"{divergence.frame} of {divergence.scene}: relative L2 {divergence.relative_l2:.1e}, "
        f"at most {tolerance:.0e} is allowed"
    )


def report_table(report: VerifyReport) -> Table:
    """Return a row per tensor, in the order of the network, with its worst frame per candidate."""
    from rich.table import Table

    from bevformer_lib.report import numbers

    title = f"Against the original, {report.frames} frames, relative L2 at most {report.tolerance:.0e}"
    table = Table("tensor", "shape", title=title, title_justify="left")
    for candidate in report.candidates:
        table.add_column(f"{candidate}, worst", justify="right")
        table.add_column("at")
    for tensor in report.tensors:
        row = [tensor, ""]
        for candidate in report.candidates:
            worst = report.worst(candidate, tensor)
            if worst is None:
                row += [numbers.UNDEFINED, ""]
                continue
            row[1] = " x ".join(map(str, worst.shape))
            first = " <- first divergence" if _is_first(report, candidate, tensor) else ""
            row += [f"{worst.relative_l2:.1e}", f"{worst.scene}, frame {worst.frame}{first}"]
        table.add_row(*row)
    return table


def _is_first(report: VerifyReport, candidate: str, tensor: str) -> bool:
    first = report.first_divergence(candidate)
    return first is not None and first.tensor == tensor
