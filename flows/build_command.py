"""`bevformer build`: the whole pipeline on one machine, with no server to start."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from flows.request import BuildRequest

if TYPE_CHECKING:
    from bevformer_lib.progress import ProgressCallback
    from bevformer_lib.store.base import Store
    from flows.chain import BuildResult

_BUILDS: Final = "builds"
_LOGS: Final = "logs"
_SERVER: Final = "prefect"
_SEND_SECONDS: Final = 10.0
_LOGGED: Final = ("bevformer_lib", "tasks", "flows", "prefect")


def command(*, request: Annotated[BuildRequest, Parameter(name="*")]) -> None:
    """Build: export, calibrate, quantise, evaluate, judge, report. Only what changed since the last build is done."""
    from rich.console import Console

    from bevformer_lib.cli.explain import steps_table
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.pipeline.builds import lay_out
    from bevformer_lib.pipeline.gates import read_verdict, require_gates
    from bevformer_lib.pipeline.publish import publish_build
    from bevformer_lib.pipeline.report import REPORT
    from bevformer_lib.pipeline.runs import RunStep
    from bevformer_lib.store.open import open_store
    from flows.build_tables import detection_table

    started = time.monotonic()
    opened = open_store(request.store)
    place = _local_place(opened)
    opened.remove_abandoned_scratch()
    with progress_bar() as on_progress:
        result = _finished_build(request, opened, on_progress) or _run_flow(request, place, on_progress)
    folder = lay_out(opened, result.build, place / _BUILDS)
    console = Console(markup=False, highlight=False)
    console.print(f"build {result.build.identity} of {result.build.name}")
    console.print(steps_table(map(RunStep.of, result.steps)))
    console.print(detection_table(opened, result.build))
    ran = sum(step.ran for step in result.steps)
    done = f"{ran} of {len(result.steps)} steps done" if ran else "nothing to do: nothing changed"
    console.print(f"{done}, {time.monotonic() - started:.1f} s", soft_wrap=True)
    console.print(f"gates:  {read_verdict(opened, result.build).counts}", soft_wrap=True)
    console.print(f"files:  {folder}", soft_wrap=True)
    require_gates(opened, result.build, report=str(folder / REPORT))
    console.print(f"report: {folder / REPORT}", soft_wrap=True)
    if request.publish:
        console.print(f"latest: {publish_build(opened, result.build).target}", soft_wrap=True)


def _local_place(store: Store) -> Path:
    """Return the folder for logs, Prefect's database and named files: a folder store's own, or one of the cache's."""
    from bevformer_lib.store.folder import FolderStore
    from bevformer_lib.store.open import cache_folder

    if isinstance(store, FolderStore):
        return store.root
    return cache_folder() / "stores" / re.sub(r"[^\w.-]+", "_", store.uri)


def _finished_build(request: BuildRequest, store: Store, on_progress: ProgressCallback) -> BuildResult | None:
    """Return the build if all its steps are in the store; that takes no Prefect."""
    from bevformer_lib.pipeline.executors import FindingExecutor, NotDoneError
    from bevformer_lib.pipeline.runs import record_found
    from flows.chain import run_chain
    from flows.inputs import read_inputs

    inputs = read_inputs(request, store.digests, on_progress)
    try:
        result = run_chain(request, inputs, store, FindingExecutor(store))
    except NotDoneError:
        return None
    record_found(store, result.build.identity, result.steps)
    return result


def _run_flow(request: BuildRequest, place: Path, on_progress: ProgressCallback) -> BuildResult:
    """Run the flow in this process, with the user's Prefect server or else one of its own."""
    from bevformer_lib.doctor.prefect_settings import API_URL, prefect_settings
    from flows.local_server import QUIET, LocalServer

    log = place / _LOGS / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(QUIET)
    if os.environ.get(API_URL) or prefect_settings(os.environ, folder=Path.cwd(), user_home=Path.home()).get(API_URL):
        return _call_flow(request, log, on_progress)
    server = LocalServer(place / _SERVER, log)
    try:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            del os.environ[name]  # meant for another server
        os.environ.update(server.environment)
        server.wait_until_ready()
        return _call_flow(request, log, on_progress)
    finally:
        _send_what_is_left()
        server.stop()


def _send_what_is_left() -> None:
    """Have Prefect send its last events and log lines now: once its server is gone it would wait for it at exit."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (EventsWorker, APILogWorker):
        service.drain_all(timeout=_SEND_SECONDS)


def _call_flow(request: BuildRequest, log: Path, on_progress: ProgressCallback) -> BuildResult:
    # Prefect's own log handlers write to the console; a local build's log goes to a file, and its progress is shown.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from flows.build import FailedBuildError, build
    from tasks.progress import console_progress

    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in _LOGGED:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        with console_progress(on_progress):
            return build(request)
    except FailedBuildError as error:
        return error.result  # shown like any other first
    finally:
        for name in _LOGGED:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
