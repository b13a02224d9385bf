"""Evaluation as a run of its own, for the pool `edge`: a share of the scenes, alone on its board."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.settings import RunSettings
from tasks.shard import do_shard


@flow(name="evaluate", persist_result=False)
def evaluate(store: str, work: list[dict[str, Any]], settings: RunSettings) -> State[None] | None:
    """Run the compiled model over scenes and compare it with the float one.

    Args:
        store: address of the store that gets the results.
        work: what to do, as the build sends it.
        settings: how this machine reaches the hub and the store.
    """
    return do_shard(store, work, settings)
