"""The export as a run of its own, for the pool `gpu`."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.settings import RunSettings
from tasks.shard import do_shard


@flow(name="export", persist_result=False)
def export(store: str, work: list[dict[str, Any]], settings: RunSettings) -> State[None] | None:
    """Turn a checkpoint into a proven graph.

    Args:
        store: address of the store that gets the results.
        work: what to do, as the build sends it.
        settings: how this machine reaches the hub and the store.
    """
    return do_shard(store, work, settings)
