"""A Prefect server that is away for a while: it may be restarted while work goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

import httpx

SERVER_SECONDS: Final = 600.0
"""How long a server may be away before a build gives up."""
_PAUSE_SECONDS: Final = 4.0
_PASSING_STATUSES: Final = frozenset({408, 429})

_log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


def is_away(error: httpx.HTTPError) -> bool:
    """Return whether an error speaks of a server that can't answer now, and not of one that refuses."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return status >= httpx.codes.INTERNAL_SERVER_ERROR or status in _PASSING_STATUSES
    return True


def patiently(ask: Callable[[], _Answer], what: str) -> _Answer:
    """Ask the server something, again and again while it is away.

    Prefect's clients ask again by themselves, but not one that was never answered.

    Args:
        ask: to be done in full each time.
        what: it is about, for the log.

    Raises:
        httpx.HTTPError: the server refuses, or was away for :data:`SERVER_SECONDS`.
    """
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        try:
            return ask()
        except httpx.HTTPError as error:
            if not is_away(error) or time.monotonic() > deadline:
                raise
            _log.warning("the server can't be asked about %s: %s", what, type(error).__name__)
            time.sleep(_PAUSE_SECONDS)
