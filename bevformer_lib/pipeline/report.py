"""The report as a step: what was lost, in one HTML file and in one JSON file."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib import __version__
from bevformer_lib.config.inference_config import read_inference_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.summary import summarize
from bevformer_lib.files import write_json
from bevformer_lib.pipeline.evaluate import EVALUATION, read_evaluation
from bevformer_lib.pipeline.gates import GATES, read_verdict_file
from bevformer_lib.pipeline.images import draw_shown_frames, frames_to_show
from bevformer_lib.pipeline.inputs import SceneSource, open_artifact, scene_software
from bevformer_lib.pipeline.measure import (
    COVERAGE,
    METRICS,
    TENSORS,
    read_coverage,
    read_metrics,
    read_tensors,
)
from bevformer_lib.pipeline.sections import conversion_section, gate_section, lineage, score_shifts_of
from bevformer_lib.pipeline.software import software
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.report.content import (
    CalibrationFacts,
    Fact,
    ReportArtifact,
    ReportContent,
    ReportImage,
    ReportStep,
)
from bevformer_lib.report.measures import coverage_section, metric_section, tensor_rows
from bevformer_lib.report.sections import ReportSections
from bevformer_lib.report.write import write_report
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.base import Store
from bevformer_lib.store.records import read_step
from bevformer_lib.store.run import StepResult
from bevformer_lib.store.step import Artifact, Step, StepRecord

REPORT: Final = "report.html"
SUMMARY: Final = "summary.json"
REFERENCE_NAME: Final = "float model"
_PICTURES: Final = 5
_CODE: Final = (
    "bevformer_lib.report",
    "bevformer_lib.drawing",
    "bevformer_lib.evaluate",
    "bevformer_lib.pipeline.images",
    "bevformer_lib.pipeline.sections",
    __name__,
)


@dataclass(frozen=True)
class DoneStep:
    """A step of the build, for the report.

    Attributes:
        identity: of its record.
        ran: whether the work was done in this build.
        reason: why, or why not.
    """

    identity: str
    ran: bool
    reason: str

    @classmethod
    def of(cls, result: StepResult) -> DoneStep:
        """Return what the report needs of a result."""
        return cls(result.record.identity, result.ran, result.reason)


@dataclass(frozen=True)
class ReportWork:
    """Writes the report of a build.

    Attributes:
        model: configuration of the model.
        steps: the steps before, in order.
        evaluations: what ``EvaluateWork`` put out, by scene.
        scenes: the same scenes.
        inference_config: how boxes were decoded.
        requirements: what the model asks of scenes.
        candidate_name: how to call the compiled model in a sentence.
        measured: what the steps between put out, by file name: metrics, coverage, tensors, gates.
    """

    model: ModelConfig
    steps: tuple[DoneStep, ...]
    evaluations: Mapping[str, Artifact]
    scenes: tuple[SceneSource, ...]
    inference_config: Artifact
    requirements: SceneRequirements
    candidate_name: str
    measured: Mapping[str, Artifact]

    @property
    def step(self) -> Step:
        """Done again when any step before it is another one."""
        return Step(
            name="report",
            version=1,
            inputs={
                "inference_config": self.inference_config,
                **self.measured,
                **{f"{scene}/{EVALUATION}": artifact for scene, artifact in self.evaluations.items()},
                **{f"scene {scene.name}": scene.content for scene in self.scenes},
            },
            parameters={"steps": [step.identity for step in self.steps], "candidate_name": self.candidate_name},
            packages={**scene_software(), **software(packages=("jinja2",), code=_CODE)},
        )

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Write the report.

        Raises:
            SceneError: a scene whose frame is shown can't be read.
            StoreError: a step's record or output is gone.
        """
        records = {step.identity: read_step(store, step.identity) for step in self.steps}
        evaluations = {name: read_evaluation(store, artifact) for name, artifact in self.evaluations.items()}
        summary = summarize(list(evaluations.values()))
        content = ReportContent(
            title=f"BEVFormer {self.model.name}: {self.candidate_name}",
            subtitle=f"{summary.frames} frames of {summary.scenes} scenes",
            reference_name=REFERENCE_NAME,
            candidate_name=self.candidate_name,
            built_from=tuple(self._built_from(records)),
            summary=summary,
            evaluations=tuple(evaluations.values()),
            random_weights=_fact(records, "random_weights_seed") is not None,
            made_up_scenes=bool(_fact(records, "made_up")),
            calibration=_calibration(records),
            steps=tuple(_report_step(step, records[step.identity]) for step in self.steps),
            artifacts=tuple(_artifacts(records.values())),
            provenance=tuple(_provenance(records)),
            images=self._images(store, evaluations),
            sections=self._sections(store, records, list(evaluations.values())),
        )
        write_report(content, folder / REPORT)
        write_json(folder / SUMMARY, dataclasses.asdict(summary))
        on_progress("report", 1, 1)
        return {"scenes": summary.scenes, "frames": summary.frames}

    def _sections(
        self, store: Store, records: Mapping[str, StepRecord], evaluations: Sequence[SceneEvaluation]
    ) -> ReportSections:
        metrics = read_metrics(store, self.measured[METRICS])
        return ReportSections(
            gates=gate_section(read_verdict_file(store, self.measured[GATES])),
            metrics=None if isinstance(metrics, str) else metric_section(*metrics),
            tensors=tensor_rows(read_tensors(store, self.measured[TENSORS])) or None,
            score_shifts=score_shifts_of(evaluations),
            coverage=coverage_section(read_coverage(store, self.measured[COVERAGE])),
            conversion=conversion_section(store, records),
            lineage=lineage(records, {step.identity: step.ran for step in self.steps}),
        )

    def _images(self, store: Store, evaluations: Mapping[str, SceneEvaluation]) -> tuple[ReportImage, ...]:
        shown = frames_to_show(list(evaluations.values()), at_most=_PICTURES)
        names = {one.scene for one in shown}
        return draw_shown_frames(
            shown,
            evaluations,
            {scene.name: scene.read(self.requirements) for scene in self.scenes if scene.name in names},
            read_inference_config(open_artifact(store, self.inference_config)),
            Preprocessor(self.requirements.image_hw, self.requirements.img_norm),
            (REFERENCE_NAME, self.candidate_name),
        )

    def _built_from(self, records: Mapping[str, StepRecord]) -> Iterator[Fact]:
        model = self.model
        height, width = model.image_hw
        yield Fact(
            "Model",
            f"{model.name}: {model.num_cams} cameras of {height} x {width} pixels, BEV {model.bev_h} x {model.bev_w}, "
            f"{model.num_query} queries",
            f"config {model.digest()}",
        )
        for record in records.values():
            for name, artifact in record.step.inputs.items():
                if name == "checkpoint":
                    yield Fact("Checkpoint", f"{artifact.name} ({artifact.source})", artifact.sha256)
        sources = sorted({scene.content.source or "" for scene in self.scenes})
        frames = sum(scene.num_frames for scene in self.scenes)
        yield Fact("Scenes", f"{len(self.scenes)} scenes, {frames} frames", ", ".join(sources))
        for record in records.values():
            if "converter" in record.step.parameters:
                settings = ", ".join(f"{name} {value}" for name, value in record.facts.get("settings", {}).items())
                yield Fact("Converter", str(record.step.parameters["converter"]), settings)


def _fact(records: Mapping[str, StepRecord], name: str) -> Any:
    """Return what the one step that knows it says, ``None`` if none does."""
    return next((record.facts[name] for record in records.values() if name in record.facts), None)


def _calibration(records: Mapping[str, StepRecord]) -> CalibrationFacts | None:
    for record in records.values():
        if "samples_by_scene" in record.facts:
            return CalibrationFacts(
                num_samples=record.step.parameters["num_samples"],
                first_frames=record.facts["first_frames"],
                seed=record.step.parameters["seed"],
                samples_by_scene=record.facts["samples_by_scene"],
            )
    return None


def _report_step(step: DoneStep, record: StepRecord) -> ReportStep:
    return ReportStep(
        title=record.step.title,
        key=record.step.key,
        made_from=tuple(record.step.inputs),
        seconds=record.seconds,
        ran=step.ran,
        reason=step.reason,
    )


def _artifacts(records: Iterable[StepRecord]) -> Iterator[ReportArtifact]:
    for record in records:
        if record.step.part is None:
            for name, artifact in record.outputs.items():
                yield ReportArtifact(name, record.step.title, artifact.sha256, artifact.size)


def _provenance(records: Mapping[str, StepRecord]) -> Iterator[Fact]:
    yield Fact("bevformer-axera", __version__)
    yield Fact("Python", platform.python_version())
    yield Fact("Machine of the report", f"{platform.system()} {platform.machine()}")
    packages = {name: version for record in records.values() for name, version in record.step.packages.items()}
    for name, version in sorted(packages.items()):
        if not name.startswith("bevformer_lib"):
            yield Fact(name, version)
