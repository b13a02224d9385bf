"""`bevformer view`: a scene with its detections for a 3D viewer."""

from __future__ import annotations

import sys
from pathlib import Path


def command(
    scenes: Path,
    /,
    *,
    config: str,
    output: Path,
    image_size: str | None = None,
    detections: Path | None = None,
    scene: str | None = None,
) -> None:
    """Write a scene as a recording for the viewer rerun: six cameras, boxes in 3D, the drive, over time.

    Open it with `rerun FILE`. Annotations (gt_boxes) are white, detections have the colours of their classes.

    Args:
        scenes: folder with a folder per scene.
        config: preset name, or an original config file; says how many cameras, which size, which normalisation.
        output: the .rrd file to write.
        image_size: padded image size HxW in pixels, instead of the config's own.
        detections: the folder that `bevformer infer` wrote; without it only images and annotations are shown.
        scene: name of the scene; the first one if left out.
    """
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.detections.detections_folder import detections_of_scenes, read_detections
    from bevformer_lib.errors import BevformerError, SceneError
    from bevformer_lib.scenes.fingerprint import scene_fingerprint
    from bevformer_lib.scenes.index import find_scenes
    from bevformer_lib.scenes.preprocess import Preprocessor
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements
    from bevformer_lib.viewer.export import export_scene, import_rerun

    import_rerun()
    model = load_model_config(config, image_hw=parse_image_size(image_size))
    entries, defects = find_scenes(scenes)
    if defects:
        raise SceneError(f"{scenes} can't be read:", defects)
    names = [entry.name for entry in entries]
    if scene is not None and scene not in names:
        raise SceneError(f"{scenes}: has no scene {scene}; it has {', '.join(names[:10])}")
    position = 0 if scene is None else names.index(scene)
    with progress_bar() as on_progress:
        requirements = SceneRequirements.of_model(model)
        (chosen,) = read_scenes(
            scenes, requirements, start_scene=position, end_scene=position + 1, on_progress=on_progress
        )
        boxes, class_names = None, model.class_names
        if detections is not None:
            found = read_detections(detections)
            boxes = detections_of_scenes(found, [chosen])[chosen.name]
            [results] = [one for one in found if one.scene == chosen.name]
            class_names = results.class_names
            if results.made_with.get("scene_sha256") != scene_fingerprint(chosen):
                raise BevformerError(
                    f"{results.path}: was made from another {chosen.name} than the one in {scenes}; "
                    "name the scenes that 'bevformer infer' was given"
                )
        preprocessor = Preprocessor(model.image_hw, model.img_norm)
        export_scene(chosen, preprocessor, boxes, class_names, output, on_progress=on_progress)
    shown = "no detections" if boxes is None else f"{sum(len(one.scores) for one in boxes)} detections"
    sys.stdout.write(
        f"{output}: {len(chosen.frames)} frames of {chosen.name}, {shown}; open it with 'rerun {output}'\n"
    )
