"""What a user's network settings must not reach: this machine."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def keep_loopback_off_proxies(environment: MutableMapping[str, str]) -> None:
    """Add this machine's own addresses to those that are reached without a proxy.

    A proxy of a company knows nothing of the servers on this machine: the build's own Prefect server, or a store.
    """
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    kept = [name for name in (one.strip() for one in given.split(",")) if name]
    if "*" in kept:
        return
    value = ",".join([*kept, *(name for name in LOOPBACK if name not in kept)])
    environment["no_proxy"] = environment["NO_PROXY"] = value
