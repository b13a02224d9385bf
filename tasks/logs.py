"""The library's log in the runs of a deployment."""

from __future__ import annotations

import logging
from typing import Final

_LOGGERS: Final = ("bevformer_lib", "tasks", "flows")


def keep_library_logs() -> None:
    """Let the library's messages through to Prefect's handlers.

    PREFECT_LOGGING_EXTRA_LOGGERS gives these loggers a handler, but leaves them at the root's level, which is WARNING.
    """
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
