"""Doing a step, unless it was done: the one place that decides what is redone and why."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

from bevformer_lib import __version__
from bevformer_lib.errors import StoreError, StoreUnreachableError
from bevformer_lib.store.base import Store
from bevformer_lib.store.explain import why_run
from bevformer_lib.store.full_disk import named_full_disk
from bevformer_lib.store.step import Artifact, Step, StepRecord

_log = logging.getLogger(__name__)

_UPLOADS_AT_ONCE = 8
"""A step may write hundreds of small files, each of which costs a bucket a round trip or two."""

Produce: TypeAlias = Callable[[Path], Mapping[str, Any]]
"""Does the work of a step: writes its outputs into the given empty folder and returns its facts (plain JSON data)."""


@dataclass(frozen=True)
class StepResult:
    """What became of a step.

    Attributes:
        record: of this run, or of the earlier one that is reused.
        ran: whether the work was done now.
        reason: why it was done, or why not.
    """

    record: StepRecord
    ran: bool
    reason: str


def find_step(store: Store, step: Step) -> StepResult | None:
    """Return the finished step if its record and every object are there and intact; never does any work.

    Raises:
        StoreUnreachableError: the store does not say.
    """
    result, _ = _find(store, step)
    return result


def run_step(store: Store, step: Step, produce: Produce) -> StepResult:
    """Reuse a finished step, or do it and publish what it wrote: objects first, the record last.

    A step whose record names a missing or corrupted object is done again. Several processes may do the same step at
    once; the first to publish wins and all return its record.

    Raises:
        StoreError: the disk is full, or the step wrote nothing.
        Exception: whatever ``produce`` raises; nothing of the step is kept then.
    """
    found, problem = _find(store, step)
    if found is not None:
        return found
    reason = problem or why_run(step, last_done(store, step.kind))
    _log.info("%s: %s", step.title, reason)
    with store.scratch() as folder, named_full_disk(folder):
        started = time.perf_counter()
        facts = produce(folder)
        seconds = round(time.perf_counter() - started, 3)
        record = _publish(store, step, folder, facts, seconds)
    return StepResult(record, ran=True, reason=reason)


def note_step(store: Store, step: Step, record: StepRecord) -> None:
    """Let a step be found as done by a record that another machine made of the same inputs and parameters.

    Such a machine has other versions of packages, so that its own step has another key.
    """
    if record.step.key != step.key:
        store.put_record(step.kind, step.key, record.to_dict())


def last_done(store: Store, kind: str) -> Step | None:
    """Return the step of a kind that was done last, if any; unreadable records are passed over."""
    records = []
    for key in store.list_records(kind):
        try:
            content = store.get_record(kind, key)
            records += [StepRecord.from_dict(content)] if content is not None else []
        except StoreUnreachableError:
            raise
        except StoreError as error:
            _log.warning("%s", error)
    return max(records, key=lambda record: record.created_at).step if records else None


def _find(store: Store, step: Step) -> tuple[StepResult | None, str | None]:
    """Return the reusable result, or why a record that exists can't be reused."""
    try:
        content = store.get_record(step.kind, step.key)
        if content is None:
            return None, None
        record = StepRecord.from_dict(content)
        for artifact in record.outputs.values():
            store.check_object(artifact.sha256, artifact.size)
        store.refresh_record(step.kind, step.key)
    except StoreUnreachableError:
        raise
    except StoreError as error:
        return None, str(error)
    return StepResult(record, ran=False, reason=f"unchanged since {record.created_at}"), None


def _publish(store: Store, step: Step, folder: Path, facts: Mapping[str, Any], seconds: float) -> StepRecord:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        raise StoreError(f"step {step.title}: wrote no output; this is a defect of the step")
    record = StepRecord(
        step=step,
        outputs={},
        facts=facts,
        seconds=seconds,
        created_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        product_version=__version__,
    )
    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as pool:
        stored = list(pool.map(store.put_object, files))
    outputs = {
        path.relative_to(folder).as_posix(): Artifact(path.name, kept.sha256, kept.size, made_by=record.identity)
        for path, kept in zip(files, stored, strict=True)
    }
    return _put_record(store, replace(record, outputs=outputs))


def _put_record(store: Store, record: StepRecord) -> StepRecord:
    """Publish a record; where one is there already, keep it if it holds, replace it if it doesn't."""
    step = record.step
    while not store.put_record(step.kind, step.key, record.to_dict()):
        found, _ = _find(store, step)
        if found is not None:
            return found.record
        store.remove_record(step.kind, step.key)
    return record
