"""`bevformer make-scenes`."""

from __future__ import annotations

import sys
from pathlib import Path

from bevformer_lib.cli.options import Count, Seed, Threads


def command(
    *,
    output: Path,
    model: str = "tiny",
    image_size: str | None = None,
    num_scenes: Count = 2,
    frames: Count = 12,
    seed: Seed = 0,
    ground_truth: bool = True,
    workers: Threads = 1,
) -> None:
    """Render synthetic driving scenes with known boxes, in the published scene format.

    A folder that an interrupted run began with the same options is carried on with.

    Args:
        output: folder to fill with scenes; a folder with anything else in it is refused.
        model: preset name (tiny, small, base) or original config file: image size, cameras, normalisation.
        image_size: padded image size HxW in pixels, instead of the config's own.
        num_scenes: how many scenes; scene k is the same however many are made.
        frames: frames per scene, two per second.
        seed: the same seed gives the same bytes.
        ground_truth: write the boxes (gt_boxes) into the meta files.
        workers: processes that render, each one scene at a time; the bytes are the same with any number.
    """
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.synthetic_scenes.make import SceneRecipe, make_scenes

    config = load_model_config(model, image_hw=parse_image_size(image_size))
    recipe = SceneRecipe.of_model(
        config, num_scenes=num_scenes, frames_per_scene=frames, seed=seed, ground_truth=ground_truth
    )
    with progress_bar() as on_progress:
        rendered = make_scenes(output, recipe, workers=workers, on_progress=on_progress)
    height, width = config.image_hw
    state = f"{rendered} of {num_scenes} rendered now" if rendered else "all there already, nothing to do"
    sys.stdout.write(
        f"{output}: {num_scenes} synthetic scenes of {frames} frames, {config.num_cams} cameras of {height} x {width} "
        f"pixels, seed {seed} ({state})\n"
    )
