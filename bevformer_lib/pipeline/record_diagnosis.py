"""What the float model gives in the checks of a diagnosis, as a step: for boards that can't run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.backends.runtimes import ONNXRUNTIME, RUNTIMES
from bevformer_lib.evaluate.diagnosis import try_frame
from bevformer_lib.pipeline.diagnosed_frame import diagnosed_frame
from bevformer_lib.pipeline.inputs import IMAGE_PACKAGES, SceneSource
from bevformer_lib.pipeline.record import RECORDING, open_recording
from bevformer_lib.pipeline.work import NOT_IN_KEY, Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.runtime.base import Runtime, TensorSpec
from bevformer_lib.runtime.recorded import pack_recording
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scratch import temporary_folder
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact


@dataclass(frozen=True)
class RecordDiagnosisWork(
    Work,
    step="record-diagnosis",
    pool="gpu",
    modules=(RUNTIMES[ONNXRUNTIME],),
    packages=("onnxruntime", *IMAGE_PACKAGES),
):
    """Keeps what the float model gives in the checks of a diagnosis."""

    scenes: tuple[SceneSource, ...]
    reference: Artifact
    requirements: SceneRequirements
    device: str = field(metadata=NOT_IN_KEY)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Record them; nothing where no scene has a second frame.

        Raises:
            RuntimeUnavailableError: the model can't be run here.
            SceneError: a scene can't be read.
        """
        with temporary_folder() as recorded:
            recording = open_recording(store, self.reference, self.device, recorded)
            found = diagnosed_frame(self.scenes, self.requirements)
            if found is not None:
                # What a diagnosis tries on a candidate whose images are right, and on one whose images are not.
                for candidate in (recording, _Blind(recording)):
                    try_frame(
                        found.previous,
                        found.inputs,
                        reference=recording,
                        candidate=candidate,
                        img_norm=self.requirements.img_norm,
                        on_progress=on_progress,
                    )
            pack_recording(recorded, folder / RECORDING)
        return {"device": self.device, **({"scene": found.scene, "frame": found.index} if found else {})}


class _Blind:
    """A candidate that sees nothing: every fault of the images is looked for."""

    def __init__(self, like: Runtime) -> None:
        self._like = like

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        return self._like.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        return self._like.outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        return self._like.metadata

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: np.zeros(spec.shape, spec.dtype) for name, spec in self.outputs.items()}
