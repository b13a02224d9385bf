"""The process of a :class:`~flows.local_server.LocalServer`: Prefect's own API, which ends when its parent does.

Run as ``python -m flows.local_server_process <parent's process id> <listening socket's descriptor>``.
"""

from __future__ import annotations

import os
import sys
import threading
import time

_LOOK_SECONDS = 0.5


def main() -> None:
    """Serve until told to stop, or until the parent is gone."""
    parent, descriptor = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Away from the user's .env, prefect.toml and pyproject.toml, which Prefect reads of the working directory.
    os.chdir(os.environ["PREFECT_HOME"])
    import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, fd=descriptor, log_level="error", lifespan="on")


def _end_with(parent: int) -> None:
    """Leave at once when the parent is gone: a parent that was killed can't stop its server."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
