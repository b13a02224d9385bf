"""Run whole scenes and write what the network is fed, in the vendor's ``quantization_data`` format."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bevformer_lib.calibration.disk import named_disk_errors
from bevformer_lib.calibration.quantization_data import (
    EXTRACTION_RECORD,
    GLOBAL_INDEX,
    SCENE_INDEX,
    SCENE_ORIGIN,
    meta_path,
    read_index,
    tensor_path,
)
from bevformer_lib.errors import CalibrationError
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_PREV_BEV
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import fed_to
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.fingerprint import scene_fingerprint
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import DecodedFrame, stream_inputs
from bevformer_lib.scenes.types import Scene


def extract_quantization_data(
    scenes: Sequence[Scene],
    runtime: Runtime,
    preprocessor: Preprocessor,
    output: Path,
    *,
    model_sha256: str,
    config_sha256: str,
    on_progress: ProgressCallback = no_progress,
) -> Path:
    """Extract scenes one after the other; those that are finished already are not run again.

    Args:
        scenes: the scenes.
        runtime: the float model.
        preprocessor: makes the model's inputs from a frame.
        output: the ``quantization_data`` folder. A scene's folder appears when it is whole, the global index (of all
            scenes in the folder, in order of their names) at the end.
        model_sha256: digest of the model, so that a folder never mixes two.
        config_sha256: digest of the inference config, likewise.
        on_progress: called for every frame.

    Raises:
        CalibrationError: the folder holds data of another model or config, or a scene with other frames.
    """
    _claim_folder(output, {"model_sha256": model_sha256, "config_sha256": config_sha256})
    for scene in scenes:
        extract_scene(scene, runtime, preprocessor, output, on_progress=on_progress)
    return write_global_index(output)


def extract_scene(
    scene: Scene,
    runtime: Runtime,
    preprocessor: Preprocessor,
    output: Path,
    *,
    on_progress: ProgressCallback = no_progress,
) -> Path:
    """Write the network inputs of every frame of a scene, unless that is done already.

    Raises:
        CalibrationError: the scene is there with other frames, or can't be written.
    """
    target = output / scene.name
    if _is_finished(target, scene):
        on_progress(scene.name, len(scene.frames), len(scene.frames))
        return target
    for abandoned in output.glob(f".{_escaped(scene.name)}.*.partial"):
        shutil.rmtree(abandoned)
    session = TemporalSession(runtime)
    with named_disk_errors(target), atomic_path(target) as folder:
        folder.mkdir()
        for position, decoded in enumerate(stream_inputs(scene.frames, fed_to(preprocessor, runtime))):
            result = session.step(decoded.inputs, first=position == 0)
            _write_frame(folder, position, decoded, result.prev_bev)
            on_progress(scene.name, position + 1, len(scene.frames))
        write_json(folder / SCENE_ORIGIN, _origin(scene))
        write_json(folder / SCENE_INDEX, _scene_index(scene))
    return target


def write_global_index(output: Path) -> Path:
    """List all finished scenes of a ``quantization_data`` folder, in order of their names."""
    entries = []
    for path in sorted(output.glob(f"*/{SCENE_INDEX}")):
        if not path.parent.name.startswith("."):
            index = read_index(path)
            entries.append({"name": index["scene_name"], "num_frames": index["num_frames"]})
    target = output / GLOBAL_INDEX
    write_json(target, {"num_scenes": len(entries), "scenes": entries})
    return target


def _claim_folder(output: Path, origin: dict[str, str]) -> None:
    """Record what a folder is made with; refuse one that was made with something else."""
    record = output / EXTRACTION_RECORD
    if record.is_file():
        if read_index(record) != origin:
            raise CalibrationError(
                f"{output}: holds data that was made with another model or config; choose another folder, "
                "or remove this one"
            )
        return
    if output.is_dir() and any(output.glob(f"*/{SCENE_INDEX}")):
        raise CalibrationError(f"{output}: holds scenes but no {EXTRACTION_RECORD}; choose another folder")
    write_json(record, origin)


def _is_finished(folder: Path, scene: Scene) -> bool:
    if not (folder / SCENE_INDEX).is_file():
        return False
    if read_index(folder / SCENE_ORIGIN) != _origin(scene):
        raise CalibrationError(
            f"{folder / SCENE_ORIGIN}: the scene was extracted with other frames than it has now; remove {folder} and "
            "run again"
        )
    return True


def _origin(scene: Scene) -> dict[str, Any]:
    return {"frames": [frame.index for frame in scene.frames], "scene_sha256": scene_fingerprint(scene)}


def _scene_index(scene: Scene) -> dict[str, Any]:
    count = len(scene.frames)
    return {"scene_name": scene.name, "num_frames": count, "frame_indices": list(range(count))}


def _write_frame(folder: Path, position: int, decoded: DecodedFrame, prev_bev: np.ndarray[Any, Any]) -> None:
    arrays = {
        INPUT_IMG: decoded.inputs.img,
        INPUT_LIDAR2IMG: decoded.inputs.lidar2img,
        INPUT_CAN_BUS: decoded.inputs.can_bus,
        INPUT_PREV_BEV: prev_bev,
    }
    for name, array in arrays.items():
        np.save(tensor_path(folder, position, name), array)
    shutil.copyfile(decoded.frame.meta_path, meta_path(folder, position))


def _escaped(name: str) -> str:
    """Quote a name for ``Path.glob``."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
