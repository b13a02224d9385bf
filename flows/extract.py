"""Extraction of calibration data as a run of its own, for the pool `gpu`: a share of the scenes."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.settings import RunSettings
from tasks.shard import do_shard


@flow(name="extract", persist_result=False)
def extract(store: str, work: list[dict[str, Any]], settings: RunSettings) -> State[None] | None:
    """Run scenes with the float model and keep the history that its chosen frames are fed.

    Args:
        store: address of the store that gets the results.
        work: what to do, as the build sends it.
        settings: how this machine reaches the hub and the store.
    """
    return do_shard(store, work, settings)
