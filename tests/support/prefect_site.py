"""A real Prefect server with real process workers, as users run them; every process is gone when the block ends."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import end_with_parent

ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
START_SECONDS = 180.0
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_RETRIES = 20
_ANSWER_SECONDS = 30
_PAGE = 200


def wait_for(happened: Callable[[], Any], what: str, seconds: float = 120.0, pause: float = 0.2) -> Any:
    """Return the first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := happened()):
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:.0f} s"
        time.sleep(pause)
    return answer


@dataclass
class Site:
    """A running server, its workers and what they share.

    Attributes:
        folder: everything that it writes, the workers' caches too.
        environment: of everything that belongs to it.
        api: address of its API.
        database: address of the server's database; ``None``: SQLite.
        auth: ``user:password`` of its API; ``None``: open to all.
        server: process of the server, once it was started.
        workers: processes by name.
    """

    folder: Path
    environment: dict[str, str]
    api: str
    database: str | None = None
    auth: str | None = None
    server: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_server(self) -> None:
        """Start the server, and wait until it answers."""
        settings = dict(self.environment)
        if self.database is not None:
            settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = self.database
        port = self.api.removesuffix("/api").rpartition(":")[2]
        with (self.folder / "server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [str(PREFECT), "server", "start", "--host", "127.0.0.1", "--port", port],
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        wait_for(lambda: _answers(self), "the server's start", START_SECONDS)

    def kill_server(self) -> None:
        """Kill the server at once."""
        assert self.server is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.server.pid, signal.SIGKILL)
        self.server.wait()

    def call(self, path: str, body: Mapping[str, Any] | None = None, *, method: str | None = None) -> Any:
        """Call the API, as the UI and the clients do; a server that is busy or silent is asked again."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        if self.auth is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(self.auth.encode()).decode()}"
        request = urllib.request.Request(  # noqa: S310
            f"{self.api}/{path}",
            data,
            headers,
            method=method or ("GET" if body is None else "POST"),
        )
        for _ in range(_RETRIES):
            try:
                with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as response:  # noqa: S310
                    content = response.read()
                    return json.loads(content) if content else None
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error
            except (TimeoutError, ConnectionResetError):
                continue
            time.sleep(0.5)
        raise AssertionError(f"{path}: the server stays busy")

    def every(self, what: str) -> list[Any]:
        """Return everything of a kind, page by page."""
        found: list[Any] = []
        while page := self.call(f"{what}/filter", {"limit": _PAGE, "offset": len(found)}):
            found += page
        return found

    def prefect(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Run Prefect's command line."""
        done = subprocess.run(
            [str(PREFECT), "--no-prompt", *arguments],
            cwd=ROOT,
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"prefect {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, code: str) -> subprocess.Popen[bytes]:
        """Run Python code as a client of the server."""
        with (self.folder / "python.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, env=self.environment, stdout=log, stderr=log
            )

    def start_worker(self, pool: str, name: str, limit: int = 1) -> None:
        """Start a worker, as on a machine of its own: with its own caches and working directory."""
        home = self.folder / "machines" / name
        home.mkdir(parents=True, exist_ok=True)
        machine = {"BEVFORMER_CACHE": str(home / "cache"), "HF_HOME": str(home / "hf"), "PREFECT_HOME": str(home)}
        arguments = ["worker", "start", "--pool", pool, "--name", name, "--type", "process", "--limit", str(limit)]
        with (self.folder / f"worker-{name}.log").open("ab") as log:
            self.workers[name] = subprocess.Popen(
                [str(PREFECT), *arguments, "--install-policy", "never"],
                cwd=home,
                env=self.environment | machine,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def online(self, pool: str) -> list[str]:
        """Names of the workers that poll a pool."""
        listed = self.call(f"work_pools/{pool}/workers/filter", {})
        return [worker["name"] for worker in listed if worker["status"] == "ONLINE"]

    def kill_worker(self, name: str) -> None:
        """Kill a worker at once; what it started lives on."""
        process = self.workers.pop(name)
        process.kill()
        process.wait()

    def run(self, deployment: str, parameters: Mapping[str, Any]) -> str:
        """Start a run of a deployment through the API and return its id."""
        found = self.call(f"deployments/name/{deployment}")
        asked = {"parameters": parameters, "idempotency_key": secrets.token_hex(8)}
        return str(self.call(f"deployments/{found['id']}/create_flow_run", asked)["id"])

    def state(self, run: str) -> str:
        """Type of a run's state."""
        return str(self.call(f"flow_runs/{run}")["state_type"])

    def ended(self, run: str, seconds: float = 300.0) -> dict[str, Any]:
        """Wait for a run's end and return it."""
        wait_for(lambda: self.state(run) in FINAL, f"the end of run {run}", seconds, 0.5)
        return dict(self.call(f"flow_runs/{run}"))

    def children(self, run: str) -> list[dict[str, Any]]:
        """Child runs on pools, in the order in which they were asked for."""
        found = self.call(
            "flow_runs/filter",
            {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200},
        )
        return [dict(child) for child in found]

    def processes(self, run: str | None = None) -> list[int]:
        """Processes of flow runs of this site: of one, or of all."""
        mark = f"{SITE_VARIABLE}={self.folder}".encode()
        wanted = b"PREFECT__FLOW_RUN_ID=" + (run or "").encode()
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                with contextlib.suppress(OSError):
                    environment = (process / "environ").read_bytes().split(b"\0")
                    named = any(entry.startswith(wanted) for entry in environment)
                    if named and mark in environment and (process / "stat").read_text().split()[2] != "Z":
                        found.append(int(process.name))
        return found


SITE_VARIABLE = "BEVFORMER_TEST_SITE"


@contextmanager
def running_site(folder: Path, environment: Mapping[str, str], *, database: str | None = None) -> Iterator[Site]:
    """Start a server in a folder; stop it, its workers and their runs when the block ends.

    Args:
        folder: empty.
        environment: for all processes, beside Prefect's own settings.
        database: address of PostgreSQL; ``None``: SQLite, which several workers at once bring to a standstill.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_", "HF_"))}
    settings = {
        **kept,
        **environment,
        SITE_VARIABLE: str(folder),
        "PREFECT_HOME": str(folder / "server"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_CLIENT_MAX_RETRIES": "10",
        # One row per transaction keeps SQLite locked; these record in batches.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_HEARTBEAT_SECONDS": "3",  # a dead worker counts as offline after three
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    (folder / "server").mkdir(parents=True)
    site = Site(folder, settings, settings["PREFECT_API_URL"], database)
    try:
        site.start_server()
        yield site
    finally:
        _stop(site)


def _answers(site: Site) -> bool:
    assert site.server is not None and site.server.poll() is None, (site.folder / "server.log").read_text()
    with contextlib.suppress(OSError):
        site.call("health")
        return True
    return False


def _stop(site: Site) -> None:
    for process in (site.server, *site.workers.values()):
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for left in site.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
