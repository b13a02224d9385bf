"""From a checkpoint and scenes to a quantised, verified model and a report."""

from __future__ import annotations

import os
from typing import Any, Final, cast

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.runtime import deployment, flow_run
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from bevformer_lib.errors import ConfigError, GateError
from bevformer_lib.pipeline.gates import require_gates
from bevformer_lib.pipeline.publish import publish_build
from bevformer_lib.pipeline.runs import recorded_run
from flows.chain import BuildResult, run_chain
from flows.inputs import read_inputs
from flows.request import BuildRequest
from tasks.credentials import opened
from tasks.logs import keep_library_logs
from tasks.pools import executor
from tasks.settings import RunSettings
from tasks.summary import show

_CORES_PER_SCENE: Final = 8
"""One scene keeps about so many cores busy; each scene at once holds another frame's activations in memory."""
_THREADS: Final = max(1, (os.cpu_count() or 1) // _CORES_PER_SCENE)
RUNNER: Final = cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=_THREADS))
DEFAULTS: Final = RunSettings()


class FailedBuildError(GateError):
    """A build that failed its gates.

    Attributes:
        result: the build, which is recorded, and what became of its steps.
    """

    def __init__(self, message: str, result: BuildResult) -> None:
        super().__init__(message, result.build.identity)
        self.args = (message, result)
        self.result = result

    def __str__(self) -> str:
        return str(self.args[0])


@flow(name="build", flow_run_name="build {request.label}", task_runner=RUNNER, persist_result=False)
def build(request: BuildRequest, settings: RunSettings = DEFAULTS) -> BuildResult:
    """Build, doing only what was not done before.

    Args:
        request: what to build from what.
        settings: how machines reach the hub, the store and each other.

    Raises:
        FailedBuildError: the build is worse than its policy allows; it is kept, and nothing is published.
        BevformerError: the inputs have defects, or a step failed; finished steps are kept.
    """
    return run_build(request, settings)


def run_build(request: BuildRequest, settings: RunSettings) -> BuildResult:
    """Build within the flow run that calls this; see :func:`build`."""
    if deployment.id and request.relative_paths:
        named = ", ".join(f"{field} {path!r}" for field, path in request.relative_paths.items())
        raise ConfigError(
            f"a run of a deployment works in a folder of its own: give absolute paths or URIs, not {named}"
        )
    keep_library_logs()
    with opened(request.store, settings) as store:
        names = (str(flow_run.id), str(flow_run.name))
        with recorded_run(store, executor(store, settings), *names, on_end=lambda run: show(run, store)) as recorded:
            does, run = recorded
            result = run_chain(request, read_inputs(request, store.digests), store, does)
            run.build = result.build.identity
            try:
                require_gates(store, result.build, report=f"in build {result.build.identity} of {store.uri}")
            except GateError as error:
                raise FailedBuildError(str(error), result) from None
            if request.publish:
                publish_build(store, result.build)
            return result
