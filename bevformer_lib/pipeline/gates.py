"""The gates as a step: all metrics of a build, judged by a policy and against the last published build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.emulator.emulation import coarsest_of_projection
from bevformer_lib.errors import GateError, StoreError
from bevformer_lib.files import write_json
from bevformer_lib.gates.judge import Verdict, judge
from bevformer_lib.gates.metrics import NOT_EMULATED, BuildMetrics, Metric, gather
from bevformer_lib.gates.policy import Policy
from bevformer_lib.pipeline.builds import Build, read_build
from bevformer_lib.pipeline.convert import EMULATION_FACTS
from bevformer_lib.pipeline.diagnose import DIAGNOSIS, read_diagnosis
from bevformer_lib.pipeline.evaluate import EVALUATION, read_evaluation
from bevformer_lib.pipeline.inputs import SceneSource, read_artifact, read_json_artifact
from bevformer_lib.pipeline.measure import COVERAGE, METRICS, read_coverage, read_metrics
from bevformer_lib.pipeline.work import Work
from bevformer_lib.plain_data import to_plain
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.aliases import get_alias
from bevformer_lib.store.base import BUILDS, Store
from bevformer_lib.store.records import find_record
from bevformer_lib.store.step import Artifact

GATES: Final = "gates.json"
BUILD_METRICS: Final = "build_metrics.json"
LATEST: Final = "latest"
"""The alias of the build that is published."""
_STEP: Final = "gates"
_AFTER: Final = (_STEP, "report")
"""Steps that depend on the published build, and so don't tell whether a build is the published one."""


@dataclass(frozen=True)
class Baseline:
    """The build that is compared with.

    Attributes:
        build: its id.
    """

    build: str
    metrics: Artifact


@dataclass(frozen=True)
class GatesWork(Work, step=_STEP):
    """Judges a build; a failed gate does not fail this step, so that its evidence is kept.

    Attributes:
        evaluations: what ``EvaluateWork`` put out, by scene.
        measured: what ``MetricsWork``, ``CoverageWork`` and ``DiagnoseWork`` put out, by file name.
        baseline: the published build; ``None``: there is none.
    """

    model: str
    scenes: tuple[SceneSource, ...]
    evaluations: Mapping[str, Mapping[str, Artifact]]
    measured: Mapping[str, Artifact]
    policy: Policy
    baseline: Baseline | None

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Judge.

        Raises:
            StoreError: a measurement is gone.
        """
        metrics = gather(
            [read_evaluation(store, outputs[EVALUATION]) for outputs in self.evaluations.values()],
            read_metrics(store, self.measured[METRICS]),
            read_coverage(store, self.measured[COVERAGE]),
            read_diagnosis(store, self.measured[DIAGNOSIS]),
            _projection_step(store, self.measured.get(EMULATION_FACTS)),
        )
        build = BuildMetrics(self.model, {scene.name: scene.content.sha256 for scene in self.scenes}, metrics)
        baseline = None if self.baseline is None else read_build_metrics(store, self.baseline.metrics)
        verdict = judge(self.policy, build, baseline, baseline_id="" if self.baseline is None else self.baseline.build)
        write_json(folder / BUILD_METRICS, to_plain(build))
        write_json(folder / GATES, verdict.to_dict())
        on_progress("gates", 1, 1)
        return {"passed": not verdict.failed, "failed": [result.name for result in verdict.failed]}


def _projection_step(store: Store, facts: Artifact | None) -> Metric:
    if facts is None:
        return NOT_EMULATED
    coarsest = coarsest_of_projection(read_json_artifact(store, facts))
    if coarsest is None:
        return Metric(None, note="the graph projects nothing in integers")
    spans = f"{coarsest.lowest:,.0f} to {coarsest.highest:,.0f}"
    return Metric(coarsest.step, note=f"{coarsest.layer}, {coarsest.format}: one step of its range {spans}")


def find_baseline(store: Store, done: Sequence[str]) -> Baseline | None:
    """Return the published build, or what that one was compared with if it is the build at hand.

    So a build that was published is found unchanged when it is asked for again, and not compared with itself.
    """
    entry = get_alias(store, LATEST)
    if entry is None:
        return None
    build = read_build(store, entry.target)
    if BUILD_METRICS not in build.outputs:
        return None
    if tuple(step for step in build.steps if step.split("/")[0] not in _AFTER) != tuple(done):
        return Baseline(entry.target, build.outputs[BUILD_METRICS])
    [identity] = [step for step in build.steps if step.split("/")[0] == _STEP]
    record = find_record(store, identity)
    before = None if record is None else record.step.parameters.get("baseline")
    return (
        None if record is None or before is None else Baseline(before["build"], record.step.inputs["baseline/metrics"])
    )


def read_build_metrics(store: Store, artifact: Artifact) -> BuildMetrics:
    """Return the metrics of a build."""
    return read_artifact(store, artifact, BuildMetrics)


def read_verdict(store: Store, build: Build) -> Verdict:
    """Return a build's verdict.

    Raises:
        StoreError: the build was made without gates, or its verdict is gone.
    """
    if GATES not in build.outputs:
        raise StoreError(f"{store.uri}: {BUILDS}/{build.identity} was built without gates; build again")
    return read_verdict_file(store, build.outputs[GATES])


def read_verdict_file(store: Store, artifact: Artifact) -> Verdict:
    """Return a stored verdict."""
    return read_artifact(store, artifact, Verdict)


def require_gates(store: Store, build: Build, *, report: str) -> None:
    """Raise if a build did not pass its gates.

    Raises:
        GateError: names every gate that failed, with value, bound and worst scene.
    """
    verdict = read_verdict(store, build)
    if verdict.failed:
        causes = {result: f"\n    usual cause: {result.cause}" if result.cause else "" for result in verdict.failed}
        lines = "\n".join(f"  - {result}{cause}" for result, cause in causes.items())
        raise GateError(
            f"build {build.identity} failed {len(verdict.failed)} of {len(verdict.results)} gates of policy "
            f"{verdict.policy}; nothing is published, everything is kept\n{lines}\nreport: {report}",
            build=build.identity,
        )
