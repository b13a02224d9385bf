"""Why the compiled model is worse, as a step: checks on one frame, and a look at the calibration set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bevformer_lib.calibration.origin import foreign_samples, listed_samples
from bevformer_lib.calibration.pack import MANIFEST_NAME
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.convert.base import METADATA_PREFIX
from bevformer_lib.evaluate.diagnosis import CALIBRATION, DIAGNOSES, Diagnosis, try_frame
from bevformer_lib.evaluate.finding import Finding
from bevformer_lib.files import write_json
from bevformer_lib.pipeline.diagnosed_frame import diagnosed_frame
from bevformer_lib.pipeline.inputs import (
    IMAGE_PACKAGES,
    SceneSource,
    open_artifact,
    read_artifact,
    read_scene_metas,
)
from bevformer_lib.pipeline.linked import linked_folder
from bevformer_lib.pipeline.runtimes import (
    FOUND_SIMULATOR,
    Executable,
    Simulator,
    open_float_model,
    pool_of,
    runtime_modules,
)
from bevformer_lib.pipeline.work import NOT_IN_KEY, Work
from bevformer_lib.plain_data import to_plain
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import fed_to
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

DIAGNOSIS: Final = "diagnosis.json"
_COMPARED_SAMPLES: Final = 3
"""A set that is another one, or was fed otherwise, differs in every sample."""


@dataclass(frozen=True)
class DiagnoseWork(Work, step="diagnose", packages=("onnxruntime", *IMAGE_PACKAGES)):
    """Tries the frame on which the car moves most, and compares the calibration set with what it was made from.

    Attributes:
        recording: what ``RecordDiagnosisWork`` put out, which then stands for the float model.
        simulator: where the runtime is Pulsar2's simulator.
        npu: where the runtime is AXEngine: ``board``, ``card`` or ``card:N``; ``None``: its own choice.
    """

    scenes: tuple[SceneSource, ...]
    reference: Artifact
    candidate: Artifact
    calibration: Mapping[str, Artifact]
    requirements: SceneRequirements
    runtime: str
    device: str = field(metadata=NOT_IN_KEY)
    recording: Artifact | None = None
    simulator: Simulator = FOUND_SIMULATOR
    inference_config: Artifact | None = None
    npu: str | None = field(default=None, metadata=NOT_IN_KEY)

    @property
    def modules(self) -> tuple[str, ...]:
        """Of the runtimes."""
        return runtime_modules(self.runtime, self.recording)

    @property
    def pool(self) -> str:
        """Where the candidate can be run."""
        return pool_of(self.runtime)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Diagnose.

        Raises:
            CalibrationError: the calibration set is broken.
            RuntimeUnavailableError: a model can't be run here.
            SceneError: a scene can't be read.
        """
        metas = {scene.name: scene for scene in read_scene_metas(self.scenes)}
        preprocessor = Preprocessor(self.requirements.image_hw, self.requirements.img_norm)
        reference = open_float_model(store, self.reference, self.recording, self.device)
        candidate = Executable(self.candidate, self.runtime, self.device, self.simulator, self.npu).open(store)
        geometry = None
        if self.inference_config is not None:
            geometry = read_inference_config(open_artifact(store, self.inference_config)).host_geometry
        reference, candidate = with_host_geometry(reference, geometry), with_host_geometry(candidate, geometry)
        fed = fed_to(preprocessor, reference)
        findings = {CALIBRATION: self._calibration(store, metas, fed, candidate, geometry)}
        found = diagnosed_frame(self.scenes, self.requirements)
        if found is None:
            silent = Finding(None, "no scene has a second frame")
            diagnosis = Diagnosis({name: findings.get(name, silent) for name in DIAGNOSES})
        else:
            findings |= try_frame(
                found.previous,
                found.inputs,
                reference=reference,
                candidate=candidate,
                img_norm=self.requirements.img_norm,
                on_progress=on_progress,
            )
            diagnosis = Diagnosis({name: findings[name] for name in DIAGNOSES}, found.scene, found.index)
        write_json(folder / DIAGNOSIS, to_plain(diagnosis))
        return {name: finding.value for name, finding in diagnosis.findings.items()}

    def _calibration(
        self,
        store: Store,
        metas: Mapping[str, Scene],
        preprocessor: Preprocessor,
        candidate: Runtime,
        geometry: HostGeometryConfig | None,
    ) -> Finding:
        """Look whether the set is of this model and these scenes, and whether the candidate was made with it."""
        found = _named_by(candidate, self.reference.sha256, self.calibration[MANIFEST_NAME].sha256)
        with linked_folder(store, self.calibration) as folder:
            compared = {sample["scene"] for sample in listed_samples(folder)[:_COMPARED_SAMPLES]}
            read = {scene.name: scene.read(self.requirements) for scene in self.scenes if scene.name in compared}
            found += foreign_samples(
                folder,
                {**metas, **read},
                preprocessor,
                model_sha256=self.reference.sha256,
                compared=_COMPARED_SAMPLES,
                host_geometry=geometry,
            )
        return Finding(float(len(found)), "; ".join(found) or "the set is of this model and these scenes")


def read_diagnosis(store: Store, artifact: Artifact) -> Diagnosis:
    """Return a build's diagnosis."""
    return read_artifact(store, artifact, Diagnosis)


def _named_by(candidate: Runtime, graph_sha256: str, manifest_sha256: str) -> list[str]:
    """Return what a candidate says of its own making that is not so; compiled formats say nothing."""
    expected = {
        "float_model_sha256": (graph_sha256, "the compiled model says that it was made from another float model"),
        "calibration_manifest_sha256": (
            manifest_sha256,
            "the compiled model says that it was calibrated with another set",
        ),
    }
    given = {key: candidate.metadata.get(f"{METADATA_PREFIX}{key}") for key in expected}
    return [words for key, (sha256, words) in expected.items() if given[key] not in (None, sha256)]
