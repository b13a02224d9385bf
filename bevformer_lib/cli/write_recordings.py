"""`bevformer write-recordings`: scenes as recordings of a car."""

from __future__ import annotations

import sys
from pathlib import Path

from bevformer_lib.cli.options import FirstScene, LastScene


def command(
    scenes: Path,
    /,
    *,
    output_dir: Path,
    config: str = "tiny",
    image_size: str | None = None,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
) -> None:
    """Write scenes as MCAP recordings with ROS 2's messages, one per scene, to run or replay what reads such.

    Args:
        scenes: folder with a folder per scene.
        output_dir: gets SCENE.mcap for each.
        config: preset name, or an original config file; says how many cameras, which size, which normalisation.
        image_size: padded image size HxW in pixels, instead of the config's own.
        start_scene: position of the first scene to write, counted from 0.
        end_scene: position after the last one.
    """
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.recordings.writer import write_recordings
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    requirements = SceneRequirements.of_model(load_model_config(config, image_hw=parse_image_size(image_size)))
    with progress_bar() as on_progress:
        found = read_scenes(scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
        written = write_recordings(found, output_dir, on_progress=on_progress)
    for scene, path in zip(found, written, strict=True):
        megabytes = path.stat().st_size / 1e6
        sys.stdout.write(f"{path}: {len(scene.frames)} frames of {scene.name}, {megabytes:,.1f} MB\n")
