"""What changed between two builds: what they were made from, how, with what, and what that did to the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bevformer_lib.pipeline.builds import Build
from bevformer_lib.pipeline.convert import COMPILED, CONVERSION_FACTS, QUANTIZED
from bevformer_lib.pipeline.gates import BUILD_METRICS, read_build_metrics
from bevformer_lib.pipeline.inputs import read_json_artifact
from bevformer_lib.pipeline.measure import TENSORS, read_tensors
from bevformer_lib.store.base import Store
from bevformer_lib.store.records import read_step
from bevformer_lib.store.step import StepRecord

_CODE: Final = "bevformer_lib"
NOT_RECORDED: Final = "not recorded"
_DIGITS: Final = 12
_PER_CLASS: Final = re.compile(r"metrics\.(ap|recall|precision)\.\w+")
_JUDGED: Final = ("gates", "report")
"""Steps whose inputs and parameters follow from the others', or name the published build."""


@dataclass(frozen=True)
class Change:
    """Something that is not the same in two builds; ``None``: it is not there."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class BuildDifference:
    """What changed from one build to another.

    Attributes:
        inputs: files and scenes from outside, by their digests.
        code: digests of this product's own modules.
        candidates: compiled models: digests of the numbers in them. A compiled file itself differs in a few bytes each
            time it is built.
        totals: metrics that changed, those by class left out.
        per_class: metrics by class that changed.
        per_tensor: mean cosine of tensors inside the network that changed.
    """

    inputs: tuple[Change, ...]
    parameters: tuple[Change, ...]
    packages: tuple[Change, ...]
    code: tuple[Change, ...]
    candidates: tuple[Change, ...]
    totals: tuple[Change, ...]
    per_class: tuple[Change, ...]
    per_tensor: tuple[Change, ...]


def compare_builds(store: Store, before: Build, after: Build) -> BuildDifference:
    """Compare two builds.

    Raises:
        StoreError: a step's record or a measurement is gone.
    """
    sides = [[read_step(store, identity) for identity in build.steps] for build in (before, after)]
    packages = _changes(*(_merged(records, _packages) for records in sides))
    metrics = _changes(*(_metrics(store, build) for build in (before, after)))
    return BuildDifference(
        inputs=_changes(*(_merged(records, _outside) for records in sides)),
        parameters=_changes(*(_merged(records, _parameters) for records in sides)),
        packages=tuple(change for change in packages if not change.name.startswith(_CODE)),
        code=tuple(change for change in packages if change.name.startswith(_CODE)),
        candidates=_changes(*(_merged(records, partial(_candidates, store)) for records in sides)),
        totals=tuple(change for change in metrics if not _PER_CLASS.fullmatch(change.name)),
        per_class=tuple(change for change in metrics if _PER_CLASS.fullmatch(change.name)),
        per_tensor=_changes(*(_tensors(store, build) for build in (before, after))),
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return what differs, in the order in which it stands in ``after``; what is only in ``before`` last."""
    names = dict.fromkeys([*after, *before])
    pairs = (Change(name, before.get(name), after.get(name)) for name in names)
    return tuple(change for change in pairs if change.before != change.after)


def _merged(records: list[StepRecord], items: Callable[[StepRecord], Iterable[tuple[str, Any]]]) -> dict[str, Any]:
    return {name: value for record in records for name, value in items(record)}


def _outside(record: StepRecord) -> Iterator[tuple[str, str]]:
    for role, artifact in record.step.inputs.items():
        if artifact.made_by is None:
            yield role, artifact.sha256[:_DIGITS]


def _parameters(record: StepRecord) -> Iterator[tuple[str, Any]]:
    if record.step.name not in _JUDGED:
        yield from _flat(record.step.title, record.step.parameters)
    elif "policy" in record.step.parameters:
        yield "policy", [gate["gate"] for gate in record.step.parameters["policy"]["gates"]]


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", value


def _packages(record: StepRecord) -> Iterator[tuple[str, str]]:
    yield from record.step.packages.items()


def _candidates(store: Store, record: StepRecord) -> Iterator[tuple[str, str]]:
    """Yield what tells whether a compiled model computes the same: Pulsar2's record of its numbers, or its bytes."""
    if CONVERSION_FACTS in record.outputs:
        numbers = read_json_artifact(store, record.outputs[CONVERSION_FACTS]).get("numbers_sha256")
        yield f"{record.step.title}.{COMPILED}", str(numbers)[:_DIGITS] if numbers else NOT_RECORDED
    elif QUANTIZED in record.outputs:
        yield f"{record.step.title}.{QUANTIZED}", record.outputs[QUANTIZED].sha256[:_DIGITS]


def _metrics(store: Store, build: Build) -> dict[str, float | None]:
    if BUILD_METRICS not in build.outputs:
        return {}
    metrics = read_build_metrics(store, build.outputs[BUILD_METRICS]).metrics
    return {name: metric.value for name, metric in metrics.items()}


def _tensors(store: Store, build: Build) -> dict[str, float | None]:
    if TENSORS not in build.outputs:
        return {}
    return {one.name: one.mean_cosine for one in read_tensors(store, build.outputs[TENSORS])}
