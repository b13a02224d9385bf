"""A Prefect server of a build's own, for users who run none.

Prefect would start one by itself, but late, on whichever port is free, with a database in the user's home, and it would
live on after a build that was killed. This one starts in the background while other work is done, keeps its database
beside the store (so only the first start migrates it), and ends with its parent in every case.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from typing import IO

from bevformer_lib.errors import BevformerError
from bevformer_lib.files import try_lock
from bevformer_lib.scratch import temporary_folder

QUIET: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_CLI_PROMPT": "false",
}
"""Environment that keeps Prefect from sending or asking anything."""

_CLIENT: Mapping[str, str] = {
    "PREFECT_CLIENT_MAX_RETRIES": "10",  # SQLite answers 503 while it is locked
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
}
_SERVER: Mapping[str, str] = {
    # Relative to Prefect's home, where it runs: a path in an address would need ? and # and % escaped.
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///prefect.db",
    "PREFECT__SERVER_EPHEMERAL": "1",  # the services of a server without deployments
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    # One row per transaction keeps SQLite locked; these record in batches.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}
_START_SECONDS = 900.0
"""A busy machine takes minutes to start it; one that ends is noticed at once."""
_ANSWER_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
_STOP_SECONDS = 5.0
_LOCK_SECONDS = 2.0
_BACKLOG = 64
_LEAST_FREE_BYTES = 4 << 20
"""A server whose disk has less cannot write its database; it ends without being able to say so."""


class LocalServer:
    """A Prefect server in a child process, from construction to :meth:`stop`."""

    def __init__(self, home: Path, log: Path) -> None:
        """Start it; returns at once.

        Args:
            home: Prefect's home, with its database; used by one server at a time, a second one gets a temporary home.
            log: file that its output is appended to.
        """
        home = home.resolve()
        self._log = log
        home.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _try_lock(home / "server.lock")
        self._temporary = ExitStack()
        self._home = home if self._lock is not None else self._temporary.enter_context(temporary_folder())
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
            self.api_url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
            self._process = self._spawn(listener.fileno())

    @property
    def environment(self) -> dict[str, str]:
        """What the environment of a client of this server must hold."""
        return {**QUIET, **_CLIENT, "PREFECT_HOME": str(self._home), "PREFECT_API_URL": self.api_url}

    @property
    def pid(self) -> int:
        """Id of the server's process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Return when the server answers.

        Raises:
            BevformerError: it ended, or took too long.
        """
        deadline = time.monotonic() + _START_SECONDS
        reason = "it ended"
        directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                # The socket listens already: a request waits in its queue until the server is up.
                with directly.open(f"{self.api_url}/health", timeout=_ANSWER_SECONDS):
                    return
            except (OSError, HTTPException) as error:
                reason = str(error) or type(error).__name__
                time.sleep(_PAUSE_SECONDS)
        if self._process.poll() is not None:
            reason = f"it ended with status {self._process.returncode}"
        self.stop()
        if shutil.disk_usage(self._log.parent).free < _LEAST_FREE_BYTES:
            raise BevformerError(f"{self._log.parent}: no space left on the disk; free some and run the command again")
        raise BevformerError(
            f"{self._log}: the build's own Prefect server did not start ({reason}); see the end of this file"
        )

    def stop(self) -> None:
        """End the server and wait until it is gone; harmless when it is already."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._lock is not None:
            self._lock.close()
        self._temporary.close()

    def _spawn(self, listener: int) -> subprocess.Popen[bytes]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = {**foreign, **QUIET, **_SERVER, "PREFECT_HOME": str(self._home)}
        command = [sys.executable, "-m", "flows.local_server_process", str(os.getpid()), str(listener)]
        kept = (listener,) if self._lock is None else (listener, self._lock.fileno())
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal must reach the build, which then stops its server.
            return subprocess.Popen(
                command,
                env=environment,
                pass_fds=kept,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _try_lock(path: Path) -> IO[str] | None:
    """Lock a file; ``None`` if another process keeps it for longer than a killed build's server takes to end."""
    lock = path.open("w")
    deadline = time.monotonic() + _LOCK_SECONDS
    while not try_lock(lock):
        if time.monotonic() > deadline:
            lock.close()
            return None
        time.sleep(0.1)
    return lock
