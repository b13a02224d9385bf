"""From a checkpoint and scenes to a quantised, verified model and a report."""

from __future__ import annotations

import os

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from bevformer_lib.store.open import open_store
from flows.chain import BuildResult, read_inputs, run_chain
from flows.request import BuildRequest
from tasks.executor import TaskExecutor
from tasks.summary import publish_steps

_CORES_PER_SCENE = 8
"""One scene keeps about so many cores busy; each scene at once holds another frame's activations in memory."""


@flow(
    name="build",
    flow_run_name="build {request.model}",
    task_runner=ThreadPoolTaskRunner(max_workers=max(1, (os.cpu_count() or 1) // _CORES_PER_SCENE)),
    persist_result=False,
)
def build(request: BuildRequest) -> BuildResult:
    """Build, doing only what was not done before.

    Raises:
        BevformerError: the inputs have defects, or a step failed; finished steps are kept.
    """
    store = open_store(request.store)
    inputs = read_inputs(request, store.digests)
    result = run_chain(request, inputs, store, TaskExecutor(store))
    publish_steps(result.steps)
    return result
