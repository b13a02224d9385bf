"""What the float model gives, as a step: run once for every candidate, and for boards that can't run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from bevformer_lib.backends.runtimes import AXENGINE, ONNXRUNTIME, RUNTIMES
from bevformer_lib.pipeline.inputs import IMAGE_PACKAGES, SceneSource
from bevformer_lib.pipeline.runtimes import Executable
from bevformer_lib.pipeline.work import NOT_IN_KEY, PART, Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.runtime.host import fed_to
from bevformer_lib.runtime.recorded import RecordingRuntime, pack_recording
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scratch import temporary_folder
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

RECORDING: Final = "recording.zip"
NEEDS_RECORDING: Final = frozenset({AXENGINE})
"""Runtimes of machines that can't run the float model."""


@dataclass(frozen=True)
class RecordWork(
    Work,
    step="record",
    pool="gpu",
    modules=(RUNTIMES[ONNXRUNTIME],),
    packages=("onnxruntime", *IMAGE_PACKAGES),
):
    """Runs the float model over a scene and keeps its outputs.

    Attributes:
        black_camera: name of the camera that shows nothing; ``None``: all do.
    """

    scene: SceneSource = field(metadata=PART)
    reference: Artifact
    requirements: SceneRequirements
    device: str = field(metadata=NOT_IN_KEY)
    black_camera: str | None = field(default=None, metadata=PART)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Record the scene.

        Raises:
            RuntimeUnavailableError: the model can't be run here.
            SceneError: the scene can't be read.
        """
        scene = self.scene.read(self.requirements)
        preprocessor = Preprocessor(self.requirements.image_hw, self.requirements.img_norm).without(self.black_camera)
        with temporary_folder() as recorded:
            recording = open_recording(store, self.reference, self.device, recorded)
            session = TemporalSession(recording)
            seconds = []
            for position, decoded in enumerate(stream_inputs(scene.frames, fed_to(preprocessor, recording))):
                seconds.append(session.step(decoded.inputs, first=position == 0).seconds)
                on_progress(f"record {scene.name}", position + 1, len(scene.frames))
            pack_recording(recorded, folder / RECORDING)
        warm = seconds[1:] or seconds
        return {"frames": len(scene.frames), "device": self.device, "seconds_per_frame": float(np.median(warm))}


def open_recording(store: Store, reference: Artifact, device: str, folder: Path) -> RecordingRuntime:
    """Load a float model that writes what it puts out into a folder."""
    loaded = Executable(reference, ONNXRUNTIME, device).open(store)
    return RecordingRuntime(loaded, folder, model_sha256=reference.sha256)
