"""Work as a Prefect task that materialises the step's asset."""

from __future__ import annotations

import logging
from typing import Any, Final

from prefect.assets import add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import MaterializingTask

from bevformer_lib.errors import SourceUnreachableError, StoreUnreachableError
from bevformer_lib.pipeline.work import Work
from bevformer_lib.store.base import Store
from bevformer_lib.store.run import StepResult, run_step
from tasks.assets import asset_metadata, step_asset, upstream_assets
from tasks.progress import StopSignal, task_progress

_RETRIES: Final = 2
_RETRY_SECONDS: Final = 5.0
_JITTER: Final = 0.5
_PASSING: Final = (StoreUnreachableError, SourceUnreachableError, ConnectionError, TimeoutError)
"""What may be gone the next time. Our other errors are not: bad input and wrong credentials stay bad."""

_log = logging.getLogger(__name__)


def step_task(store: Store, work: Work, stop: StopSignal) -> MaterializingTask[[str], StepResult]:
    """Return a task that does ``work`` when called with the identity of its step."""
    step = work.step
    asset = step_asset(store, step)

    @materialize(
        asset,
        asset_deps=[*upstream_assets(store, step)],
        name=step.name,
        task_run_name=step.title,
        cache_policy=NO_CACHE,  # the store itself knows what was done, and checks that it is still there
        persist_result=False,
        retries=_RETRIES,
        retry_delay_seconds=_RETRY_SECONDS,
        retry_jitter_factor=_JITTER,
        retry_condition_fn=_may_pass,
    )
    def do_step(identity: str) -> StepResult:
        on_progress = stop.watched(task_progress())
        result = run_step(store, step, lambda folder: work.produce(store, folder, on_progress))
        add_asset_metadata(asset, asset_metadata(result.record))
        _log.info("%s done in %.1f s: %s", step.title, result.record.seconds, result.reason)
        return result

    return do_step


def _may_pass(task: Any, run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, _PASSING)
