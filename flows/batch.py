"""A batch of a build's work as a run of its own; each work pool has a deployment of it."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.batch import do_batch
from tasks.settings import RunSettings


@flow(name="batch", persist_result=False)
def batch(store: str, work: list[dict[str, Any]], settings: RunSettings) -> State[None] | None:
    """Do what a build asks for, on whatever machine of the pool took the run.

    Args:
        store: address of the store that gets the results.
        work: what to do, as the build sends it.
        settings: how this machine reaches the hub and the store.
    """
    return do_batch(store, work, settings)
