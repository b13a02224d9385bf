"""A process that stops a build whose parent was killed; it is run as a script and imports nothing of ours.

``python watchdog.py <process group> [command to stop the container ...]``, with a pipe from the parent as standard
input. The parent writes ``done`` when nothing is left to stop. When the pipe closes without that word, the parent is
gone, and whatever it started is stopped here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

DONE = b"done"
_ATTEMPTS = 20
_PAUSE_SECONDS = 0.5


def main() -> None:
    """Wait for the parent's word or end."""
    group, stop_container = int(sys.argv[1]), sys.argv[2:]
    if sys.stdin.buffer.read() == DONE:
        return
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)
    # A container that was just asked for may still be on its way.
    for _ in range(_ATTEMPTS if stop_container else 0):
        if subprocess.run(stop_container, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
