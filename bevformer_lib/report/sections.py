"""Optional sections of a report: gates, metrics, tensors, coverage, lineage, latencies; plain facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GateOutcome:
    """What became of one gate of the policy.

    Attributes:
        name: what is compared, such as "fidelity.bev_embed.cosine".
        rule: what is asked, as people write it, such as ">= 0.99".
        value: what was found, as it should be read; "–" where there was nothing to compute it from.
        passed: whether it holds.
        worst_scene: where it is worst; empty where that is not known.
        cause: what usually makes it fail; shown for failed gates, empty for none.
        reason: why it does not apply, for a gate that has nothing to be computed from; such a one has not failed.
        baseline: the published build's value, as it should be read; empty: there is none.
    """

    name: str
    rule: str
    value: str
    passed: bool
    worst_scene: str = ""
    cause: str = ""
    reason: str = ""
    baseline: str = ""


@dataclass(frozen=True)
class GateSection:
    """The policy's verdict.

    Attributes:
        policy: name or digest of the policy.
        outcomes: one per gate.
        baseline: the build that was compared with; empty: there is none yet.
    """

    policy: str
    outcomes: Sequence[GateOutcome]
    baseline: str = ""

    @property
    def failed(self) -> tuple[GateOutcome, ...]:
        """The gates that do not hold, in the policy's order."""
        return tuple(outcome for outcome in self.outcomes if not outcome.passed)

    @property
    def applied(self) -> tuple[GateOutcome, ...]:
        """The gates that had something to be computed from, or failed for the lack of it."""
        return tuple(outcome for outcome in self.outcomes if not (outcome.passed and outcome.reason))


@dataclass(frozen=True)
class Score:
    """One number of both models.

    Attributes:
        name: of the metric, class, distance band or scene.
        reference: of the reference; ``None``: undefined.
        candidate: of the candidate; ``None``: undefined.
        higher_is_better: false for errors.
        unit: written behind the numbers; empty for none.
    """

    name: str
    reference: float | None
    candidate: float | None
    higher_is_better: bool = True
    unit: str = ""

    @property
    def change(self) -> float | None:
        """Candidate minus reference; ``None`` where either is undefined."""
        return None if self.reference is None or self.candidate is None else self.candidate - self.reference

    @property
    def got_worse(self) -> bool:
        """Whether the candidate is behind the reference."""
        change = self.change or 0.0
        return change < 0.0 if self.higher_is_better else change > 0.0


@dataclass(frozen=True)
class Breakdown:
    """A metric cut into parts: by class, by distance, by scene.

    Attributes:
        title: such as "mAP by distance".
        scores: one per part.
    """

    title: str
    scores: Sequence[Score]


@dataclass(frozen=True)
class PrecisionRecall:
    """A class's precision-recall curves.

    Attributes:
        class_name: detection class name.
        reference: (recall, precision) in order of recall.
        candidate: (recall, precision) in order of recall.
    """

    class_name: str
    reference: Sequence[tuple[float, float]]
    candidate: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class MetricSection:
    """Detection metrics of both models.

    Attributes:
        measured_against: what they were scored against, as a sentence: annotations, or (named as such) the float
            model's boxes.
        headline: NDS, mAP, the true-positive errors.
        by_class: average precision by class, drawn as bars; ``None``: absent.
        breakdowns: further cuts, as tables.
        curves: precision-recall curves by class; ``None``: absent.
        curves_distance_m: matching distance of the curves.
    """

    measured_against: str
    headline: Sequence[Score]
    by_class: Breakdown | None = None
    breakdowns: Sequence[Breakdown] = ()
    curves: Sequence[PrecisionRecall] | None = None
    curves_distance_m: float | None = None


@dataclass(frozen=True)
class TensorFidelity:
    """Fidelity of a named tensor over all frames; ``None`` where nothing finite was compared.

    Attributes:
        name: of the tensor in the graph.
        cosine: mean over frames.
        relative_error: mean over frames of the norm of the difference over the norm of the reference.
        max_abs_error: largest over frames.
        sqnr_db: mean signal-to-quantisation-noise ratio.
    """

    name: str
    cosine: float | None
    relative_error: float | None
    max_abs_error: float | None
    sqnr_db: float | None


@dataclass(frozen=True)
class ScoreShift:
    """How the scores of matched boxes of one class moved.

    Attributes:
        class_name: detection class name.
        pairs: matched boxes.
        mean: candidate minus reference, mean; ``None`` without pairs.
        largest: the largest absolute shift; ``None`` without pairs.
    """

    class_name: str
    pairs: int
    mean: float | None
    largest: float | None


@dataclass(frozen=True)
class CoverageQuantity:
    """How a quantity of the frames is spread in the calibration set and in all scenes.

    Attributes:
        name: such as "Ego speed".
        unit: such as "m/s".
        calibration: one value per sample.
        scenes: one value per frame of all scenes.
    """

    name: str
    unit: str
    calibration: Sequence[float]
    scenes: Sequence[float]


@dataclass(frozen=True)
class CoverageSection:
    """What the calibration set saw of the scenes.

    Attributes:
        scenes_sampled: scenes that gave a sample.
        scenes_total: all scenes that could.
        quantities: ego speed, yaw rate, brightness.
    """

    scenes_sampled: int
    scenes_total: int
    quantities: Sequence[CoverageQuantity]


@dataclass(frozen=True)
class OperatorPrecision:
    """An operator as a converter built it.

    Attributes:
        name: after fusion.
        kind: its type, in the converter's words.
        tensor: its output.
        built_as: type of the output, such as U8 or FP32.
        cosine: with the float model's tensor; ``None``: not analysed.
        mse: likewise.
    """

    name: str
    kind: str
    tensor: str
    built_as: str
    cosine: float | None
    mse: float | None


@dataclass(frozen=True)
class ConversionSection:
    """What a converter built, by its own words.

    Attributes:
        tool: the converter and its version.
        max_cycle: cycles of every compiled subgraph.
        macs: multiply-accumulates of every compiled group.
        types: type of operators' outputs -> how many.
        operators: worst first.
        findings: requests without effect, and what else should be looked at.
    """

    tool: str
    max_cycle: Sequence[int]
    macs: Sequence[int]
    types: Mapping[str, int]
    operators: Sequence[OperatorPrecision]
    findings: Sequence[str]


@dataclass(frozen=True)
class LineageNode:
    """Something of a build's ancestry.

    Attributes:
        key: unique among the nodes.
        title: for people.
        detail: digest or parameters, printed small; empty for none.
        parents: keys of what it was made from.
        is_input: whether it came from outside the build.
        changed: whether this build made or met it anew.
    """

    key: str
    title: str
    detail: str = ""
    parents: Sequence[str] = ()
    is_input: bool = False
    changed: bool = False


@dataclass(frozen=True)
class LatencySamples:
    """Seconds per frame that were measured somewhere.

    Attributes:
        name: where and what, such as "INT8 model on the board".
        seconds: one value per frame.
    """

    name: str
    seconds: Sequence[float]


@dataclass(frozen=True)
class ReportSections:
    """The optional sections; one that is ``None`` is absent.

    Attributes:
        gates: the policy's verdict.
        metrics: NDS, mAP and what belongs to them.
        tensors: fidelity of intermediate tensors.
        score_shifts: by class.
        coverage: of the calibration set.
        conversion: what the converter built.
        lineage: parents before children.
        latencies: histograms beside the ones of the evaluation.
    """

    gates: GateSection | None = None
    metrics: MetricSection | None = None
    tensors: Sequence[TensorFidelity] | None = None
    score_shifts: Sequence[ScoreShift] | None = None
    coverage: CoverageSection | None = None
    conversion: ConversionSection | None = None
    lineage: Sequence[LineageNode] | None = None
    latencies: Sequence[LatencySamples] | None = None
