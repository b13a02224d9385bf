"""What every run of a build did and why: kept with the artifacts."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final

from bevformer_lib.errors import StoreError
from bevformer_lib.pipeline.executors import Executor
from bevformer_lib.pipeline.work import Work
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.store.base import BUILDS, RUNS, Store
from bevformer_lib.store.run import StepResult

FINISHED: Final = "finished"


@dataclass(frozen=True)
class RunStep:
    """What became of a step in a run.

    Attributes:
        title: the step's name for people.
        identity: of its record.
        ran: whether it was done then.
        reason: why, or why not.
    """

    title: str
    identity: str
    ran: bool
    reason: str
    seconds: float

    @classmethod
    def of(cls, done: StepResult) -> RunStep:
        """Return what a run keeps of a step."""
        return cls(done.record.step.title, done.record.identity, done.ran, done.reason, done.record.seconds)


@dataclass
class Run:
    """A run of a build, whether it came to its end or not.

    Attributes:
        key: of its record; sorts by time.
        names: what else it is known by, as the id and the name of a Prefect run.
        started_at: UTC, ISO 8601.
        ended_at: UTC, ISO 8601.
        outcome: ``finished``, or what ended it.
        build: id of the build that it made or found, if it got so far.
        steps: in order, as far as it got.
    """

    key: str
    names: Sequence[str]
    started_at: str
    ended_at: str = ""
    outcome: str = FINISHED
    build: str | None = None
    steps: list[RunStep] = field(default_factory=list)


class _Recording:
    """An executor that notes what another one does."""

    def __init__(self, executor: Executor, run: Run) -> None:
        self._executor = executor
        self._run = run

    def do(self, work: Work) -> StepResult:
        return self._note([self._executor.do(work)])[0]

    def do_all(self, work: Sequence[Work]) -> list[StepResult]:
        return self._note(self._executor.do_all(work))

    def _note(self, results: list[StepResult]) -> list[StepResult]:
        self._run.steps += map(RunStep.of, results)
        return results


@contextmanager
def recorded_run(
    store: Store, executor: Executor, *names: str, on_end: Callable[[Run], None] = lambda _: None
) -> Iterator[tuple[Executor, Run]]:
    """Give an executor whose steps are recorded as a run when the block ends, however it ends.

    Args:
        store: gets the record.
        executor: does the work.
        names: what else the run is known by.
        on_end: called with the run once it is recorded.
    """
    run = _begun(names)
    try:
        yield _Recording(executor, run), run
    except BaseException as error:
        run.outcome = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        run.build = run.build or getattr(error, "build", None)
        raise
    finally:
        _end(store, run)
        on_end(run)


def record_found(store: Store, build: str, steps: Sequence[StepResult]) -> None:
    """Record a run that found all its steps done."""
    run = _begun(())
    run.steps, run.build = list(map(RunStep.of, steps)), build
    _end(store, run)


def find_run(store: Store, name: str) -> Run:
    """Return a run by its key, by what else it is known by, or the newest run of a build; ``latest`` is the newest.

    First letters do, where they name one build or one run.

    Raises:
        StoreError: there is none, or the letters fit several.
    """
    keys = store.list_records(RUNS)
    if not keys:
        raise StoreError(f"{store.uri}: holds no run; `bevformer build --store` writes one")
    if name == "latest":
        return _read(store, keys[-1])
    builds = [key for key in store.list_records(BUILDS) if key.startswith(name)]
    if len(builds) > 1:
        raise StoreError(f"{name}: fits several builds: {', '.join(builds)}; give more letters")
    runs = [_read(store, key) for key in reversed(keys)]
    by_build = [run for run in runs if run.build in builds]
    if by_build:
        return by_build[0]
    by_name = [run for run in runs if any(known.startswith(name) for known in (run.key, *run.names))]
    if not by_name:
        raise StoreError(f"{name}: {store.uri} knows no such run or build; the newest run is {keys[-1]}")
    if len(by_name) > 1:
        raise StoreError(f"{name}: fits several runs: {', '.join(run.key for run in by_name[:5])}; give more letters")
    return by_name[0]


def _begun(names: Sequence[str]) -> Run:
    started = datetime.now(timezone.utc)
    return Run(f"{started:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}", names, _text(started))


def _end(store: Store, run: Run) -> None:
    run.ended_at = _text(datetime.now(timezone.utc))
    store.put_record(RUNS, run.key, to_plain(run))


def _read(store: Store, key: str) -> Run:
    try:
        return from_plain(Run, store.get_record(RUNS, key))
    except ValueError as error:
        raise StoreError(f"{store.uri}: run {key} {error}") from None


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
