"""`bevformer record`: a model's outputs over scenes, for machines that can't run it."""

from __future__ import annotations

from pathlib import Path

from bevformer_lib.cli.options import CellsXY, Device, FirstScene, LastScene, Npu


def command(
    model: Path,
    config_json: Path,
    scenes: Path,
    /,
    *,
    output_dir: Path,
    runtime: str = "onnxruntime",
    device: Device | None = None,
    npu: Npu | None = None,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
    host_rotate_center: CellsXY | None = None,
) -> None:
    """Run a model over whole scenes and keep its outputs, for machines that can't run it.

    A float model's are for bevformer evaluate on a board, a board's for bevformer compare-backends where PyTorch is.

    Frames that were recorded before are not run again.

    Args:
        model: the ONNX graph, or a compiled model.
        config_json: its inference_config.json.
        scenes: folder with a folder per scene.
        output_dir: gets the recording; give it to evaluate or compare-backends in place of the model.
        runtime: what runs the model: onnxruntime, axengine on a board, or pulsar2, the vendor's simulator.
        device: where ONNX Runtime runs it: cpu (also if left out), cuda or cuda:N.
        npu: which NPU axengine uses: board, card or card:N; the board's, or else the first card, if left out.
        start_scene: position of the first scene, counted from 0.
        end_scene: position after the last one.
        host_rotate_center: rotate prev_bev here, about this x and y in cells, for models that don't do it themselves
            (the vendor's exported ones: 100 100).
    """
    from rich.console import Console

    from bevformer_lib.backends.runtimes import open_runtime
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.inference_config import read_inference_config
    from bevformer_lib.files import require_writable_folder, sha256_of_file
    from bevformer_lib.runtime.contract import check_model
    from bevformer_lib.runtime.host import HostPreparation, HostRotation, fed_to
    from bevformer_lib.runtime.recorded import RecordingRuntime
    from bevformer_lib.runtime.temporal import TemporalSession, require_finite
    from bevformer_lib.scenes.preprocess import Preprocessor
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements
    from bevformer_lib.scenes.stream import stream_inputs

    require_writable_folder(output_dir)
    config = read_inference_config(config_json)
    loaded = open_runtime(runtime, model, device=device, npu=npu)
    geometry = check_model(loaded, config, model)
    preprocessor = fed_to(Preprocessor(geometry.image_hw, config.img_norm), loaded)
    rotation = HostRotation((config.bev_h, config.bev_w), host_rotate_center) if host_rotate_center else None
    requirements = SceneRequirements(geometry.num_cams, geometry.image_hw, config.img_norm)
    with progress_bar() as on_progress:
        found = read_scenes(scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
        recording = RecordingRuntime(loaded, output_dir, model_sha256=sha256_of_file(model))
        preparation = HostPreparation(config.img_norm, rotation)
        session = TemporalSession(
            recording, preparation, stated_capacity=config.camera_capacity, stated_geometry=config.host_geometry
        )
        for scene in found:
            for position, decoded in enumerate(stream_inputs(scene.frames, preprocessor)):
                step = session.step(decoded.inputs, first=position == 0)
                require_finite(step.outputs, decoded.inputs.source)
                on_progress(scene.name, position + 1, len(scene.frames))
    frames = sum(len(scene.frames) for scene in found)
    Console().print(
        f"{frames} frames of {len(found)} scenes recorded: {output_dir}", markup=False, highlight=False, soft_wrap=True
    )
