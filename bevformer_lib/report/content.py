"""What a report is filled with: plain facts, gathered by whoever ran the build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.summary import EvaluationSummary
from bevformer_lib.report.sections import ReportSections

_LINK_SCHEMES: Final = frozenset({"", "http", "https", "s3", "file"})


@dataclass(frozen=True)
class Fact:
    """A line of a description list.

    Attributes:
        label: what it is, such as "Model" or "Checkpoint".
        value: what it says.
        detail: a digest or a path, printed small; empty for none.
    """

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class ReportArtifact:
    """A file that the build put out.

    Attributes:
        name: file name.
        made_by: title of the step.
        sha256: hex digest.
        size_bytes: size.
        link: where to fetch it: ``https:``, ``http:``, ``s3:``, ``file:``, or relative to the report; empty
            for nowhere.
    """

    name: str
    made_by: str
    sha256: str
    size_bytes: int
    link: str = ""

    def __post_init__(self) -> None:
        """Check the link, so that a report never runs anything.

        Raises:
            ValueError: the link has another scheme.
        """
        scheme = urlsplit(self.link.strip()).scheme.lower()
        if scheme not in _LINK_SCHEMES:
            raise ValueError(f"{self.name}: a report doesn't link to {scheme}: addresses ({self.link!r})")


@dataclass(frozen=True)
class ReportStep:
    """A step of the build.

    Attributes:
        title: name for people.
        key: digest of everything that decides its outputs.
        made_from: names of its inputs and parameters, as they should be read.
        seconds: how long the work took when it was done.
        ran: whether that was in this build.
        reason: why it ran, or why it was reused.
    """

    title: str
    key: str
    made_from: tuple[str, ...]
    seconds: float
    ran: bool
    reason: str


@dataclass(frozen=True)
class CalibrationFacts:
    """What the model was calibrated with.

    Attributes:
        num_samples: samples in the archives.
        first_frames: how many of them are a scene's first frame (no history).
        seed: of the choice.
        samples_by_scene: how many samples each scene gave.
    """

    num_samples: int
    first_frames: int
    seed: int
    samples_by_scene: Mapping[str, int]


@dataclass(frozen=True)
class ReportPanel:
    """An image with a label of its own.

    Attributes:
        label: what it shows, such as "float model" or "float and INT8 model".
        image: encoded as JPEG, PNG or WebP.
    """

    label: str
    image: bytes


@dataclass(frozen=True)
class ReportImage:
    """A frame to look at: panels side by side where there is room, else one below the other.

    Attributes:
        caption: which frame this is.
        panels: one, or the two models', or with the annotations three.
        reason: why it is shown, such as "worst cosine of bev_embed"; empty for none.
    """

    caption: str
    panels: Sequence[ReportPanel]
    reason: str = ""


@dataclass(frozen=True)
class ReportContent:
    """A whole report.

    Attributes:
        title: heading of the page.
        subtitle: one line under it; empty for none.
        reference_name: how to call the reference in a sentence, such as "float model".
        candidate_name: how to call the candidate in a sentence, such as "INT8 model".
        built_from: model, checkpoint, scenes, converter and the like.
        summary: what the evaluation found.
        evaluations: the scenes behind it, for the charts.
        random_weights: whether the checkpoint was made up; the report then says what its numbers can't mean.
        made_up_scenes: whether the scenes were rendered.
        notes: more that a reader must know; one sentence each.
        calibration: what the model was calibrated with, if it was.
        steps: in the order of the build.
        artifacts: what the build put out.
        provenance: versions of packages, machine and the like.
        images: frames to look at.
        sections: further sections, each absent unless it is filled.
    """

    title: str
    subtitle: str
    reference_name: str
    candidate_name: str
    built_from: Sequence[Fact]
    summary: EvaluationSummary
    evaluations: Sequence[SceneEvaluation]
    random_weights: bool
    made_up_scenes: bool
    notes: Sequence[str] = ()
    calibration: CalibrationFacts | None = None
    steps: Sequence[ReportStep] = ()
    artifacts: Sequence[ReportArtifact] = ()
    provenance: Sequence[Fact] = ()
    images: Sequence[ReportImage] = ()
    sections: ReportSections = field(default_factory=ReportSections)
