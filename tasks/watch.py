"""A child run that ends when its parent run has ended.

A build that is cancelled ends its children itself. One that was killed can't, and a child whose worker was killed
lives on while its run counts as crashed. So every child looks after both runs, its own and its parent's.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from tasks.server import patiently

_LOOK_SECONDS: Final = 10.0
_WORKER_SECONDS: Final = 20.0
"""What the worker is given to end a run that is being cancelled."""
_PATIENCE_SECONDS: Final = 30.0

_log = logging.getLogger(__name__)


class Abandoned(Exception):  # noqa: N818 (no error: the run is done with)
    """The run was over before it began."""


@contextmanager
def ends_with_its_parent() -> Iterator[None]:
    """End this process when the run that started this run, or this run itself, is over.

    Raises:
        Abandoned: that is so already.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.parent_task_run_id is None:
        yield
        return
    run, stop = context.flow_run, threading.Event()
    parent, reason = patiently(partial(_look, run.id, context.flow_run.parent_task_run_id), "this run")
    if reason is not None:
        raise Abandoned(reason)
    thread = threading.Thread(target=_watch, args=(run, parent, stop), name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()


def _look(run: UUID, parent_task_run: UUID) -> tuple[UUID | None, str | None]:
    """Return the run that started this one, and why this one need not begin."""
    with get_client(sync_client=True) as client:
        parent = client.read_task_run(parent_task_run).flow_run_id
        return parent, _why_end(client, run, parent)


def _watch(run: FlowRun, parent: UUID | None, stop: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while not stop.wait(_LOOK_SECONDS):
            try:
                reason = _why_end(client, run.id, parent)
                if reason is None:
                    continue
                _log.warning("%s; this run ends", reason)
                client.set_flow_run_state(run.id, Cancelling(message=reason))
            except httpx.HTTPError as error:
                _log.warning("the server can't be asked about this run: %s", type(error).__name__)
                continue
            break
    if stop.wait(_WORKER_SECONDS):
        return
    # The worker is gone. The signal interrupts the main thread, which stops what it has started, as a container.
    os.kill(os.getpid(), signal.SIGTERM)
    if not stop.wait(_PATIENCE_SECONDS):
        os.kill(os.getpid(), signal.SIGKILL)


def _why_end(client: SyncPrefectClient, own: UUID, parent: UUID | None) -> str | None:
    for run_id, who in ((own, "this run"), (parent, "the run that asked for this one")):
        if run_id is None:
            continue
        try:
            state = client.read_flow_run(run_id).state
        except ObjectNotFound:
            return f"{who} was deleted"
        if state is not None and state.is_final():
            return f"{who} is {(state.name or 'over').lower()}"
    return None
