"""`bevformer extract-quantization-data`: every frame's network inputs, in the format of the vendor's tool."""

from __future__ import annotations

from pathlib import Path

from bevformer_lib.cli.options import Device, FirstScene, LastScene


def command(
    config_json: Path,
    scenes: Path,
    onnx: Path,
    /,
    *,
    output_dir: Path,
    device: Device = "cpu",
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
) -> None:
    """Run scenes through the float model and write what it is fed at every frame.

    Scenes that are finished in the output folder are not run again.

    Args:
        config_json: inference config of the model.
        scenes: folder of scenes.
        onnx: the float model.
        output_dir: the quantization_data folder to write.
        device: cpu, cuda or cuda:N.
        start_scene: first scene to run, counted from 0.
        end_scene: scene to stop before.
    """
    from rich.console import Console

    from bevformer_lib.backends.runtimes import ONNXRUNTIME, open_runtime
    from bevformer_lib.calibration.extract import extract_quantization_data
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.inference_config import read_inference_config
    from bevformer_lib.files import require_writable_folder, sha256_of_file
    from bevformer_lib.runtime.contract import check_model
    from bevformer_lib.scenes.preprocess import Preprocessor
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    require_writable_folder(output_dir)
    config = read_inference_config(config_json)
    runtime = open_runtime(ONNXRUNTIME, onnx, device=device)
    geometry = check_model(runtime, config, onnx)
    requirements = SceneRequirements(geometry.num_cams, geometry.image_hw, config.img_norm)
    with progress_bar() as on_progress:
        found = read_scenes(scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
        index = extract_quantization_data(
            found,
            runtime,
            Preprocessor(geometry.image_hw, config.img_norm),
            output_dir,
            model_sha256=sha256_of_file(onnx),
            config_sha256=sha256_of_file(config_json),
            on_progress=on_progress,
        )
    frames = sum(len(scene.frames) for scene in found)
    Console().print(f"{frames} frames of {len(found)} scenes extracted: {index}", soft_wrap=True, markup=False)
