"""A calibration set from scenes and a model, or from frames extracted before: plan, collect, pack."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bevformer_lib.calibration.collect import collect_scene_samples
from bevformer_lib.calibration.pack import pack_calibration, refuse_finished_set
from bevformer_lib.calibration.plan import CalibrationPlan, plan_samples
from bevformer_lib.calibration.quantization_data import QuantizationData
from bevformer_lib.calibration.samples import CalibrationSample, samples_from_quantization_data, samples_from_scenes
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import CalibrationError
from bevformer_lib.names import INPUT_PREV_BEV
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import fed_to
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.types import Scene

_DIGEST_LETTERS: Final = 16


def prepare_calibration(
    scenes: Sequence[Scene],
    runtime: Runtime,
    preprocessor: Preprocessor,
    output: Path,
    *,
    num_samples: int,
    seed: int,
    model_sha256: str,
    host_geometry: HostGeometryConfig | None = None,
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Path:
    """Choose samples, run the scenes that hold one, and pack the archives.

    States are kept in a hidden folder inside ``output`` until the set is whole: after an interruption, scenes
    that were finished are not run again.

    Args:
        scenes: all scenes to choose from.
        runtime: the float model.
        preprocessor: makes the model's inputs from a frame.
        output: the calibration folder.
        num_samples: size of the set.
        seed: another seed gives another choice.
        model_sha256: digest of the model.
        host_geometry: what the host needs to compute its geometry; ``None``: the model computes it.
        threads: threads that compress; ``None``: one per core.
        on_progress: called for every frame that was run and every sample packed.

    Raises:
        CalibrationError: there are not enough frames, the folder holds a set already, or the set can't be made.
    """
    refuse_finished_set(output)
    preprocessor = fed_to(preprocessor, runtime)
    by_name = {scene.name: scene for scene in scenes}
    plan = plan_samples({scene.name: len(scene.frames) for scene in scenes}, num_samples, seed)
    work = output / f".collected-{_work_digest(by_name, plan, preprocessor, model_sha256)}"
    collected = {name: work / name for name in plan.positions()}
    for name, positions in plan.positions().items():
        if not collected[name].is_dir():
            collect_scene_samples(
                by_name[name], positions, runtime, preprocessor, collected[name], on_progress=on_progress
            )
    manifest = pack_calibration(
        samples_from_scenes(plan, by_name, collected, preprocessor),
        output,
        num_samples=num_samples,
        seed=seed,
        model_sha256=model_sha256,
        host_geometry=host_geometry,
        threads=threads,
        on_progress=on_progress,
    )
    shutil.rmtree(work)
    return manifest


def prepare_from_quantization_data(
    data: QuantizationData,
    output: Path,
    *,
    bev_shape: tuple[int, int, int],
    num_samples: int,
    seed: int,
    host_geometry: HostGeometryConfig | None = None,
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Path:
    """Choose samples among extracted frames and pack the archives; nothing is run.

    Args:
        data: the extracted frames.
        output: the calibration folder.
        bev_shape: shape that ``prev_bev`` must have.
        num_samples: size of the set.
        seed: another seed gives another choice.
        host_geometry: what the host needs to compute the model's geometry; ``None``: the model computes it.
        threads: threads that compress; ``None``: one per core.
        on_progress: called for every sample packed.

    Raises:
        CalibrationError: there are not enough frames, they are of another model, the folder holds a set already,
            or the set can't be made.
    """
    refuse_finished_set(output)
    plan = plan_samples({name: len(indices) for name, indices in data.frame_indices.items()}, num_samples, seed)
    return pack_calibration(
        _of_bev_shape(samples_from_quantization_data(plan, data), data.folder, bev_shape),
        output,
        num_samples=num_samples,
        seed=seed,
        model_sha256=data.model_sha256,
        host_geometry=host_geometry,
        threads=threads,
        on_progress=on_progress,
    )


def _of_bev_shape(
    samples: Iterator[CalibrationSample], folder: Path, bev_shape: tuple[int, int, int]
) -> Iterator[CalibrationSample]:
    for sample in samples:
        found = sample.arrays[INPUT_PREV_BEV].shape
        if found != bev_shape:
            raise CalibrationError(
                f"{folder / sample.planned.scene}: {INPUT_PREV_BEV} of frame {sample.frame_index} is {found}, the "
                f"inference config makes it {bev_shape}; extract the frames with this model"
            )
        yield sample


def _work_digest(
    scenes: Mapping[str, Scene], plan: CalibrationPlan, preprocessor: Preprocessor, model_sha256: str
) -> str:
    """Return a digest of all that the prev_bev states depend on; files count by size and time of change."""
    files = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for name, positions in plan.positions().items()
        for frame in scenes[name].frames[: max(positions)]
        for path in (frame.meta_path, *(image.path for image in frame.images))
    ]
    content = [model_sha256, repr(preprocessor), sorted(plan.positions().items()), files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_DIGEST_LETTERS]
