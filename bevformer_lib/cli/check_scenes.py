"""`bevformer check-scenes`: whether a folder of scenes fits a model, before hours of work depend on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import FirstScene, LastScene

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.scenes.types import Scene


def command(
    scenes: Path,
    /,
    *,
    config: str,
    image_size: str | None = None,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
) -> None:
    """Check every file of a folder of scenes; print a table of the scenes, or every defect with its file.

    Args:
        scenes: folder with a folder per scene.
        config: preset name, or an original config file; says how many cameras, which size, which normalisation.
        image_size: padded image size HxW in pixels, instead of the config's own.
        start_scene: position of the first scene to check, counted from 0.
        end_scene: position after the last one.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    requirements = SceneRequirements.of_model(load_model_config(config, image_hw=parse_image_size(image_size)))
    with progress_bar() as on_progress:
        found = read_scenes(scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
    Console().print(scene_table(found))


def scene_table(scenes: tuple[Scene, ...]) -> Table:
    """Return a table with a row per scene and a row of totals."""
    from rich.table import Table

    table = Table("scene", show_footer=True)
    frames = sum(len(scene.frames) for scene in scenes)
    size_bytes = [_image_bytes(scene) for scene in scenes]
    table.columns[0].footer = f"{len(scenes)} in all"
    table.add_column("frames", justify="right", footer=f"{frames:,}")
    table.add_column("annotated boxes", justify="right", footer=_boxes(scenes))
    table.add_column("images, MB", justify="right", footer=f"{sum(size_bytes) / 1e6:,.1f}")
    for scene, size in zip(scenes, size_bytes, strict=True):
        table.add_row(scene.name, f"{len(scene.frames):,}", _boxes((scene,)), f"{size / 1e6:,.1f}")
    return table


def _boxes(scenes: tuple[Scene, ...]) -> str:
    annotated = [frame.gt_boxes for scene in scenes for frame in scene.frames if frame.gt_boxes is not None]
    return f"{sum(map(len, annotated)):,}" if annotated else "none"


def _image_bytes(scene: Scene) -> int:
    files = {image.path for frame in scene.frames for image in frame.images}
    return sum(path.stat().st_size for path in files)
