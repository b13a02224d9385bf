"""The build by the clock: what changed since last night, and nothing else."""

from __future__ import annotations

from typing import Final

from prefect import flow

from flows.build import DEFAULTS, RUNNER, run_build
from flows.chain import BuildResult
from flows.request import BuildRequest
from tasks.settings import RunSettings

_LONGEST_S: Final = 20 * 3600
"""A night that takes longer is in the way of the next one."""


@flow(
    name="nightly",
    flow_run_name="nightly {request.label}",
    task_runner=RUNNER,
    persist_result=False,
    timeout_seconds=_LONGEST_S,
)
def nightly(request: BuildRequest, settings: RunSettings = DEFAULTS) -> BuildResult:
    """Build, doing only what was not done before, and give up what is not done by the evening.

    Args:
        request: what to build from what.
        settings: how machines reach the hub, the store and each other.

    Raises:
        FailedBuildError: the build is worse than its policy allows; it is kept, and nothing is published.
        BevformerError: the inputs have defects, or a step failed; finished steps are kept.
    """
    return run_build(request, settings)
