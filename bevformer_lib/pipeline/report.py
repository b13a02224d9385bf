"""The report as a step: what was lost, in one HTML file and in one JSON file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.emulator.emulation import Emulation, emulation_of
from bevformer_lib.files import write_json
from bevformer_lib.pipeline.convert import CONVERSION_FACTS, EMULATION_FACTS
from bevformer_lib.pipeline.evaluate import EVALUATION, read_evaluation
from bevformer_lib.pipeline.gates import GATES, read_verdict_file
from bevformer_lib.pipeline.images import draw_shown_frames, frames_to_show
from bevformer_lib.pipeline.inputs import IMAGE_PACKAGES, SceneSource, open_artifact, read_json_artifact
from bevformer_lib.pipeline.lost_camera import LOST_CAMERA, read_lost_camera
from bevformer_lib.pipeline.measure import COVERAGE, METRICS, TENSORS, read_coverage, read_metrics, read_tensors
from bevformer_lib.pipeline.work import NOT_IN_KEY, Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.report import sections
from bevformer_lib.report.content import ReportContent, ReportImage, ReportStep
from bevformer_lib.report.page import write_report
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.base import Store
from bevformer_lib.store.records import read_step
from bevformer_lib.store.run import StepResult
from bevformer_lib.store.step import Artifact, StepRecord

REPORT: Final = "report.html"
SUMMARY: Final = "summary.json"
REFERENCE_NAME: Final = "float model"
_IMAGES: Final = 5
_READERS: Final[Mapping[str, Callable[[Store, Artifact], object]]] = {
    GATES: read_verdict_file,
    METRICS: read_metrics,
    COVERAGE: read_coverage,
    TENSORS: read_tensors,
}
"""What the measuring steps put out -> the domain's types in it, which the sections of the report look for."""
OTHER_BOUND: Final = "optimistic"
"""The bound of an emulation that is shown beside the judged one."""


@dataclass(frozen=True)
class DoneStep:
    """A step of the build, for the report.

    Attributes:
        identity: of its record.
        ran: whether the work was done in this build.
        reason: why, or why not.
    """

    identity: str
    ran: bool = field(metadata=NOT_IN_KEY)
    reason: str = field(metadata=NOT_IN_KEY)

    @classmethod
    def of(cls, result: StepResult) -> DoneStep:
        """Return what the report needs of a result."""
        return cls(result.record.identity, result.ran, result.reason)


@dataclass(frozen=True)
class ReportWork(Work, step="report", modules=(sections.__name__,), packages=("jinja2", *IMAGE_PACKAGES)):
    """Writes the report of a build.

    Attributes:
        steps: the steps before, in order.
        evaluations: what ``EvaluateWork`` put out, by scene.
        inference_config: how boxes were decoded.
        candidate_name: how to call the compiled model in a sentence.
        measured: what the steps between put out, by file name: metrics, coverage, tensors, gates, metrics without each
            camera that was dropped, and of an emulation its facts and the metrics of its other bound.
    """

    model: ModelConfig
    steps: tuple[DoneStep, ...]
    evaluations: Mapping[str, Mapping[str, Artifact]]
    scenes: tuple[SceneSource, ...]
    inference_config: Artifact
    requirements: SceneRequirements
    candidate_name: str
    measured: Mapping[str, Artifact]

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Write the report.

        Raises:
            SceneError: a scene whose frame is shown can't be read.
            StoreError: a step's record or output is gone.
        """
        evaluations = {name: read_evaluation(store, outputs[EVALUATION]) for name, outputs in self.evaluations.items()}
        steps = [ReportStep(read_step(store, step.identity), step.ran, step.reason) for step in self.steps]
        content = ReportContent(
            model=self.model,
            names=(REFERENCE_NAME, self.candidate_name),
            steps=steps,
            evaluations=tuple(evaluations.values()),
            found=tuple(self._found(store)),
            conversion=_conversion(store, [step.record for step in steps]),
            images=self._images(store, evaluations),
        )
        write_report(content, folder / REPORT)
        write_json(folder / SUMMARY, dataclasses.asdict(content.summary))
        on_progress("report", 1, 1)
        return {"scenes": content.summary.scenes, "frames": content.summary.frames}

    def _found(self, store: Store) -> Iterator[object]:
        for name, read in _READERS.items():
            found = read(store, self.measured[name])
            yield from found if isinstance(found, tuple) else (found,)
        for name, artifact in self.measured.items():
            if name.endswith(f"/{LOST_CAMERA}"):
                yield read_lost_camera(store, artifact)
        if EMULATION_FACTS in self.measured:
            yield _emulation(store, self.measured[EMULATION_FACTS], self.measured[f"{OTHER_BOUND}/{METRICS}"])

    def _images(self, store: Store, evaluations: Mapping[str, SceneEvaluation]) -> tuple[ReportImage, ...]:
        shown = frames_to_show(list(evaluations.values()), at_most=_IMAGES)
        names = {one.scene for one in shown}
        return draw_shown_frames(
            shown,
            evaluations,
            {scene.name: scene.read(self.requirements) for scene in self.scenes if scene.name in names},
            read_inference_config(open_artifact(store, self.inference_config)),
            Preprocessor(self.requirements.image_hw, self.requirements.img_norm),
            (REFERENCE_NAME, self.candidate_name),
        )


def _emulation(store: Store, facts: Artifact, metrics: Artifact) -> Emulation:
    content = read_json_artifact(store, facts)
    other = read_metrics(store, metrics)
    return emulation_of(content, (None, None) if isinstance(other, str) else (other[1].mean_ap, other[1].nds))


def _conversion(store: Store, records: Iterable[StepRecord]) -> Mapping[str, Any] | None:
    """Return the converter's own facts; ``None`` where it left none behind, as the embedded quantiser does."""
    for record in records:
        if CONVERSION_FACTS in record.outputs:
            return read_json_artifact(store, record.outputs[CONVERSION_FACTS])
    return None
