"""`bevformer export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from bevformer_lib.cli.options import Count
from bevformer_lib.cli.progress import progress_bar
from bevformer_lib.config.image_size import parse_image_size
from bevformer_lib.config.load import load_model_config
from bevformer_lib.errors import ConfigError
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.scenes.metas import read_metas
from bevformer_lib.scenes.requirements import SceneRequirements

if TYPE_CHECKING:
    from bevformer_lib.config.model_config import ModelConfig
    from bevformer_lib.export.onnx_export import ExportResult
    from bevformer_lib.export.spatial import SpatialChoice

_MIB = 1024 * 1024


def command(
    *,
    config: str,
    checkpoint: Path,
    output: Path,
    image_size: str | None = None,
    spatial: Literal["dense", "visible"] | None = None,
    cameras_per_query: Count | None = None,
    cameras_from: Path | None = None,
    geometry: Literal["graph", "host"] | None = None,
    input_dtype: Literal["float32", "uint8"] = "float32",
    target: str = "AX650",
    waive: Annotated[tuple[str, ...], Parameter(negative="")] = (),
) -> None:
    """Export a checkpoint as a static ONNX graph, and check its parity with PyTorch.

    The graph before the rewrites goes beside it, as X_raw.onnx. Neither file appears before everything has passed.

    Args:
        config: preset name (tiny, small, base), or an original config file.
        checkpoint: the .pth file with the weights, or `demo` for those that come with the preset `demo`.
        output: the .onnx file to write.
        image_size: padded image size HxW in pixels, instead of the config's own.
        spatial: how BEV cells sample the cameras: visible, only in the cameras that see them (at most a few per
            cell), or dense, in every camera. Left out: visible where these are fewer than the cameras.
        cameras_per_query: cameras sampled per BEV query; if left out, what so many cameras around a car need, at least
            2. A frame that needs more is refused when it is run.
        cameras_from: folder of scenes whose camera calibrations decide it, instead of cameras-per-query.
        geometry: who computes where cells lie in the cameras and in prev_bev: graph, the network itself, or host,
            in floating point before every frame, which eight bits can't blur. Left out: host.
        input_dtype: what the graph takes of the cameras: float32, images that the host has normalised, or uint8,
            pixels, a quarter of the bytes, which it normalises itself.
        target: chip whose converter must accept the graph: AX650, AX620E, AX615, AX637, M57, M76H,
            AX8850 or AX8860.
        waive: a finding of the check for the chip to let pass: RULE everywhere, or RULE:NODE; may be given several
            times.
    """
    model_config = load_model_config(config, image_hw=parse_image_size(image_size))
    if cameras_from is not None:
        if cameras_per_query is not None:
            raise ConfigError("give --cameras-per-query or --cameras-from, not both")
        if spatial == "dense":
            raise ConfigError("the dense form samples every cell in every camera; leave out --cameras-from")
        cameras_per_query = cameras_per_cell_of(cameras_from, model_config)
    from bevformer_lib.cli.lint import findings_text
    from bevformer_lib.demo import checkpoint_address
    from bevformer_lib.export.lint.findings import parse_waivers
    from bevformer_lib.export.lint.rules import RULES
    from bevformer_lib.export.onnx_export import export_onnx

    waivers = parse_waivers(waive, list(RULES))
    with progress_bar() as on_progress:
        result = export_onnx(
            model_config,
            Path(checkpoint_address(checkpoint)),
            output,
            spatial=spatial,
            cameras_per_query=cameras_per_query,
            geometry=geometry,
            input_dtype=input_dtype,
            target=target,
            waivers=waivers,
            on_progress=on_progress,
        )
    console = Console()
    if result.lint.findings or result.lint.waived:
        console.print(findings_text(result.lint), soft_wrap=True, markup=False)
    console.print(result_table(result))


def cameras_per_cell_of(scenes: Path, config: ModelConfig) -> int:
    """Return the cameras per BEV query that the calibrations of all frames of ``scenes`` need, with a margin.

    Raises:
        SceneError: the folder holds no scenes, their metas have defects, or they are for other cameras or images.
    """
    from bevformer_lib.export.spatial import cameras_per_query_of_calibrations

    found = read_metas(scenes, requirements=SceneRequirements.of_model(config))
    return cameras_per_query_of_calibrations(
        config, [frame.lidar_to_image for scene in found for frame in scene.frames]
    )


def result_table(result: ExportResult) -> Table:
    """Return what an export made and measured, for people."""
    table = Table(title=str(result.output), show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    raw_nodes = result.passes[0].nodes_before
    table.add_row("nodes", f"{sum(result.operators.values())} (raw graph: {raw_nodes})")
    table.add_row("size", f"{result.size_bytes / _MIB:.1f} MiB")
    table.add_row("sha256", result.sha256)
    table.add_row("operators", f"{len(result.operators)} kinds")
    table.add_row(
        f"check for {result.lint.chip}", f"{len(result.lint.warnings)} warnings, {len(result.lint.waived)} waived"
    )
    table.add_row("cameras", _cameras(result.spatial))
    table.add_row("geometry", "computed by the graph" if result.host_geometry is None else "computed by the host")
    table.add_row("images", f"{result.image_bytes / 1e6:.1f} MB a frame")
    for report in (report for report in result.passes if report.changed or report.refusals):
        table.add_row(f"pass {report.name}", f"{report.changed} changes, {len(report.refusals)} refused")
    for output in OUTPUT_NAMES:
        worst = f"{result.parity.worst(output):.1e} (at most {result.parity.tolerance:.0e})"
        table.add_row(f"parity {output}", f"relative difference to PyTorch {worst}")
    table.add_row("without prev_bev", f"bev_embed moves by {result.parity.history_effect:.0%}")
    table.add_row("without ego motion", f"bev_embed moves by {result.parity.motion_effect:.0%}")
    table.add_row("seconds", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result.seconds.items()))
    return table


def _cameras(choice: SpatialChoice) -> str:
    if choice.form == "dense":
        return "every BEV cell in every camera (dense)"
    return f"every BEV cell in the cameras that see it, at most {choice.cameras_per_query} (visible)"
