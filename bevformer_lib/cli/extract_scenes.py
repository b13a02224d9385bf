"""`bevformer extract-scenes`: folders of scenes from a nuScenes dataset."""

from __future__ import annotations

import sys
from pathlib import Path

from bevformer_lib.cli.options import Threads


def command(
    *,
    nuscenes_root: Path,
    model: str,
    output: Path,
    image_size: str | None = None,
    version: str = "v1.0-mini",
    split: str = "mini_val",
    can_bus: bool = False,
    workers: Threads | None = None,
) -> None:
    """Write the keyframes of a nuScenes split as scenes: images, projections, ego motion and annotated boxes.

    Scenes that an interrupted run finished are left alone; a scene's folder appears when it is whole. Needs
    nuscenes-devkit (the extra "nuscenes").

    Args:
        nuscenes_root: the dataset's root, with samples, maps and the tables.
        model: preset name (tiny, small, base) or original config file: scale and size of the images.
        output: folder to fill with scenes.
        image_size: padded image size HxW in pixels, instead of the config's own.
        version: name of the folder of tables.
        split: official split, such as mini_val or val, or one of the dataset's own splits.json.
        can_bus: take acceleration, rotation rate and velocity from the CAN bus expansion; zeros otherwise.
        workers: frames worked on at once; one per core if left out.
    """
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.nuscenes.extract import Extraction, extract_scenes

    config = load_model_config(model, image_hw=parse_image_size(image_size))
    extraction = Extraction.for_model(config, version=version, split=split, can_bus=can_bus)
    with progress_bar() as on_progress:
        extracted = extract_scenes(nuscenes_root, extraction, output, workers=workers, on_progress=on_progress)
    if extracted.foreign:
        named = ", ".join(f"{name}: {count}" for name, count in extracted.foreign.items())
        sys.stderr.write(
            f"warning: {sum(extracted.foreign.values())} annotations are left out, since their categories are none of "
            f"nuScenes' ({named}); rename them in category.json to make them count\n"
        )
    height, width = extraction.image_hw
    now = f"{extracted.scenes_now} of them extracted now" if extracted.scenes_now else "all there already"
    sys.stdout.write(
        f"{output}: {len(extracted.scenes)} scenes, {extracted.frames} frames of nuScenes {version} {split}, "
        f"images of {height} x {width} pixels ({now})\n"
    )
