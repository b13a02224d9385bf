"""The prev_bev states that the chosen frames of a scene are fed, at the least possible cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bevformer_lib.calibration.disk import named_disk_errors
from bevformer_lib.errors import CalibrationError
from bevformer_lib.files import atomic_path
from bevformer_lib.names import INPUT_PREV_BEV
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import fed_to
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Scene


def collect_scene_samples(
    scene: Scene,
    positions: Sequence[int],
    runtime: Runtime,
    preprocessor: Preprocessor,
    output: Path,
    *,
    on_progress: ProgressCallback = no_progress,
) -> Path:
    """Run a scene as far as needed and store the ``prev_bev`` of the chosen frames.

    Only that input depends on the frames before; the others are computed from the frame itself when the set is
    packed. A frame's prev_bev state is made by the frames before it, so the last chosen frame is not run, and a scene's
    first frame costs nothing.

    Args:
        scene: the scene.
        positions: places of the chosen frames in the scene, 0 for its first.
        runtime: the float model.
        preprocessor: makes the model's inputs from a frame.
        output: the folder to make; it appears whole or not at all. It holds a ``.npy`` per position, see
            :func:`prev_bev_path`.
        on_progress: called for every frame that was run.

    Raises:
        CalibrationError: a state holds NaN or infinity, or can't be written.
    """
    session, wanted, last = TemporalSession(runtime), frozenset(positions), max(positions)
    with named_disk_errors(output), atomic_path(output) as folder:
        folder.mkdir()

        def keep(position: int) -> None:
            prev_bev = session.prev_bev
            if not np.isfinite(prev_bev).all():
                raise CalibrationError(
                    f"{scene.frames[position - 1].meta_path}: the model's BEV of this frame holds NaN or infinity, "
                    "so the frames after it can't be used; check the model with 'bevformer infer'"
                )
            np.save(prev_bev_path(folder, position), prev_bev)

        if 0 in wanted:
            keep(0)
        for position, frame in enumerate(stream_inputs(scene.frames[:last], fed_to(preprocessor, runtime)), start=1):
            session.step(frame.inputs, first=position == 1)
            if position in wanted:
                keep(position)
            on_progress(scene.name, position, last)
    return output


def prev_bev_path(collected: Path, position: int) -> Path:
    """Return the file of a frame's ``prev_bev`` in a folder that :func:`collect_scene_samples` made."""
    return collected / f"{INPUT_PREV_BEV}_{position:06d}.npy"
