"""A batch of a step's work, done by a child run on whatever machine took it."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from prefect.client.schemas.objects import State
from prefect.states import Cancelled

from bevformer_lib.pipeline.serialization import AskedWork, deserialize
from bevformer_lib.pipeline.work import Work
from bevformer_lib.store.base import Store
from bevformer_lib.store.run import note_step
from tasks.credentials import opened
from tasks.executor import TaskExecutor
from tasks.logs import keep_library_logs
from tasks.settings import RunSettings
from tasks.watch import Abandoned, ends_with_its_parent

OF_THE_MACHINE: Final = MappingProxyType({"device": "BEVFORMER_DEVICE", "npu": "BEVFORMER_NPU"})
"""Field of work -> variable that says where this machine runs models, whatever the build was asked for."""

_log = logging.getLogger(__name__)


def do_batch(store: str, work: Sequence[Mapping[str, Any]], settings: RunSettings) -> State[None] | None:
    """Do work that :func:`bevformer_lib.pipeline.serialization.serialize` wrote; what is in the store is not redone.

    When one part fails the others are done all the same, so that a corrected run need not do them; then the first
    failure is raised. The parent finds the results in the store.

    Args:
        store: address of the store.
        work: the parts.
        settings: how this machine reaches the hub and the store.

    Returns:
        A cancelled state if nobody waits for the work any more.
    """
    keep_library_logs()
    try:
        with ends_with_its_parent(), opened(store, settings) as place:
            _do_all(place, [deserialize(one) for one in work])
    except Abandoned as reason:
        return Cancelled(message=str(reason))
    return None


def _do_all(store: Store, asked: Sequence[AskedWork]) -> None:
    executor, failures = TaskExecutor(store), []
    for number, one in enumerate(asked, start=1):
        try:
            result = executor.do(_on_this_machine(one.work))
        except Exception as error:
            failures.append(error)
            continue
        note_step(store, one.step, result.record)
        _log.info("%d of %d: %s", number, len(asked), one.step.title)
    if failures:
        raise failures[0]


def _on_this_machine(work: Work) -> Work:
    said = {name: os.environ.get(variable) for name, variable in OF_THE_MACHINE.items()}
    here: dict[str, Any] = {name: value for name, value in said.items() if value and hasattr(work, name)}
    return dataclasses.replace(work, **here)
