"""`bevformer prepare-calibration`: the archives that a converter calibrates with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import Count, Device, Seed
from bevformer_lib.errors import CalibrationError

if TYPE_CHECKING:
    from bevformer_lib.progress import ProgressCallback


def command(
    config_json: Path,
    scenes: Path | None = None,
    onnx: Path | None = None,
    /,
    *,
    output_dir: Path,
    num_samples: Count = 32,
    seed: Seed = 0,
    device: Device = "cpu",
    quantization_data: Path | None = None,
) -> None:
    """Choose samples and pack them into one archive per network input, with a manifest.

    The samples are chosen first; only the scenes that hold one are run, and only up to it.

    Args:
        config_json: inference config of the model.
        scenes: folder of scenes.
        onnx: the float model.
        output_dir: the calibration folder to write.
        num_samples: number of samples.
        seed: another seed gives another choice.
        device: cpu, cuda or cuda:N.
        quantization_data: take frames that extract-quantization-data wrote here, instead of running the model.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.files import require_writable_folder

    require_writable_folder(output_dir)
    with progress_bar() as on_progress:
        if quantization_data is not None:
            manifest = _from_quantization_data(
                config_json, onnx, quantization_data, output_dir, num_samples, seed, on_progress
            )
        elif scenes is None or onnx is None:
            raise CalibrationError("give SCENES and ONNX, or --quantization-data")
        else:
            manifest = _from_scenes(config_json, scenes, onnx, output_dir, num_samples, seed, device, on_progress)
    Console().print(f"{num_samples} samples packed: {manifest}", soft_wrap=True, markup=False)


def _from_scenes(
    config_json: Path,
    scenes: Path,
    onnx: Path,
    output_dir: Path,
    num_samples: int,
    seed: int,
    device: str,
    on_progress: ProgressCallback,
) -> Path:
    from bevformer_lib.backends.runtimes import ONNXRUNTIME, open_runtime
    from bevformer_lib.calibration.prepare import prepare_calibration
    from bevformer_lib.config.inference_config import read_inference_config
    from bevformer_lib.export.host_geometry import host_geometry_of_graph
    from bevformer_lib.files import sha256_of_file
    from bevformer_lib.runtime.contract import check_model
    from bevformer_lib.scenes.preprocess import Preprocessor
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    config = read_inference_config(config_json)
    runtime = open_runtime(ONNXRUNTIME, onnx, device=device)
    geometry = check_model(runtime, config, onnx)
    requirements = SceneRequirements(geometry.num_cams, geometry.image_hw, config.img_norm)
    return prepare_calibration(
        read_scenes(scenes, requirements, on_progress=on_progress),
        runtime,
        Preprocessor(geometry.image_hw, config.img_norm),
        output_dir,
        num_samples=num_samples,
        seed=seed,
        model_sha256=sha256_of_file(onnx),
        host_geometry=host_geometry_of_graph(onnx),
        on_progress=on_progress,
    )


def _from_quantization_data(
    config_json: Path,
    onnx: Path | None,
    folder: Path,
    output_dir: Path,
    num_samples: int,
    seed: int,
    on_progress: ProgressCallback,
) -> Path:
    from bevformer_lib.calibration.prepare import prepare_from_quantization_data
    from bevformer_lib.calibration.quantization_data import read_quantization_data
    from bevformer_lib.config.inference_config import read_inference_config
    from bevformer_lib.export.host_geometry import host_geometry_of_graph
    from bevformer_lib.files import sha256_of_file

    config = read_inference_config(config_json)
    data = read_quantization_data(folder)
    if onnx is not None and data.model_sha256 not in (None, sha256_of_file(onnx)):
        raise CalibrationError(f"{folder}: was extracted with another model than {onnx}; extract it again")
    return prepare_from_quantization_data(
        data,
        output_dir,
        bev_shape=(config.bev_h * config.bev_w, 1, config.embed_dims),
        num_samples=num_samples,
        seed=seed,
        host_geometry=config.host_geometry if onnx is None else host_geometry_of_graph(onnx),
        on_progress=on_progress,
    )
