"""What a report is filled with: what a build found, as the types in which it was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.summary import EvaluationSummary, summarize
from bevformer_lib.store.step import Artifact, StepRecord

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class ReportStep:
    """A step of the build.

    Attributes:
        record: what it was made from and what it put out.
        ran: whether the work was done in this build.
        reason: why it ran, or why it was reused.
    """

    record: StepRecord
    ran: bool
    reason: str


@dataclass(frozen=True)
class ReportImage:
    """A frame to look at.

    Attributes:
        caption: which frame this is, and why it is shown.
        boxes: whose boxes are drawn, such as "float and INT8 model".
        image: encoded as JPEG, PNG or WebP.
    """

    caption: str
    boxes: str
    image: bytes


@dataclass(frozen=True)
class ReportContent:
    """A whole report.

    Attributes:
        names: how to call the reference and the candidate in a sentence: "float model", "INT8 model".
        steps: of the build, in order.
        evaluations: both models' boxes and fidelity, by scene.
        found: all else that the build found, as domain types; sections look for theirs with :meth:`find`.
        conversion: the converter's own facts as plain data; ``None`` where it left none behind.
        images: frames to look at.
    """

    model: ModelConfig
    names: tuple[str, str]
    steps: Sequence[ReportStep]
    evaluations: Sequence[SceneEvaluation]
    found: Sequence[object] = ()
    conversion: Mapping[str, Any] | None = None
    images: Sequence[ReportImage] = ()

    @cached_property
    def summary(self) -> EvaluationSummary:
        """The evaluations, summed up."""
        return summarize(self.evaluations)

    @property
    def records(self) -> tuple[StepRecord, ...]:
        """What was recorded of the steps, in order."""
        return tuple(step.record for step in self.steps)

    def find(self, kind: type[_Found]) -> tuple[_Found, ...]:
        """Return all that the build found of a type, in order; empty: it found none."""
        return tuple(one for one in self.found if isinstance(one, kind))

    def fact(self, name: str) -> Any:
        """Return the fact of the one step that knows it; ``None``: no step does."""
        return next((record.facts[name] for record in self.records if name in record.facts), None)

    def parameter(self, name: str) -> Any:
        """Return the parameter of the first step that has it; ``None``: no step does."""
        return next((record.step.parameters[name] for record in self.records if name in record.step.parameters), None)

    def inputs(self) -> Iterable[tuple[str, Artifact]]:
        """Yield role and content of everything that came from outside."""
        for record in self.records:
            for role, artifact in record.step.inputs.items():
                if artifact.made_by is None:
                    yield role, artifact


@dataclass(frozen=True)
class Section:
    """A section of the report, as its module in ``sections`` declares it; its template has the module's name.

    Attributes:
        place: sections stand in the order of their places.
        title: heading, and entry of the contents.
        view: computes what the template prints; ``None``: the section does not apply to this build.
    """

    place: int
    title: str
    view: Callable[[ReportContent], Mapping[str, Any] | None]
