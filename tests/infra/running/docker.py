"""Docker for the tests that run what is in `infra/`: found, started if it has to be, and left as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.prefect_site import wait_for

CACHE = Path("/var/tmp/bevformer-test-infra")
"""What takes minutes to make and is kept between runs: Debian's base system. Delete it whenever you like."""
KEEP_VARIABLE = "TEST_INFRA_KEEP"
"""Set: images stay for the next run, which then takes minutes less."""
_START_SECONDS = 60.0


def say(text: str) -> None:
    """Tell the user, who waits for minutes, what goes on."""
    sys.stderr.write(f"{text}\n")


def docker(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    given: str | None = None,
) -> str:
    """Run docker, and return what it prints; a failure is the test's."""
    done = subprocess.run(
        ["docker", *map(str, arguments)],
        capture_output=True,
        text=True,
        # The builder that Debian's docker has without a plugin.
        env={**os.environ, "DOCKER_BUILDKIT": "0", **(environment or {})},
        cwd=folder,
        input=given,
        check=False,
    )
    assert done.returncode == 0, f"docker {' '.join(map(str, arguments))}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def compose_command() -> list[str]:
    """Return the command of docker compose, version 2: docker's plugin, or the one of the Python package index."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    import compose  # type: ignore[import-not-found]

    program = Path(compose.__file__).with_name("docker-compose")
    program.chmod(0o755)
    return [str(program)]


@contextmanager
def running_docker() -> Iterator[None]:
    """Have a docker daemon: the one that runs, or one of the test's own. Skips where there can't be one."""
    if os.geteuid() != 0:
        pytest.skip("not root")
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed (Debian: apt-get install docker.io)")
    if _answers():
        yield
        return
    if shutil.which("dockerd") is None:
        pytest.skip("no docker daemon runs, and there is none to start (Debian: apt-get install docker.io)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd"], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(_answers, f"the start of dockerd (see {CACHE}/dockerd.log)", _START_SECONDS, 0.5)
        yield
    finally:
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(60)


def everything() -> dict[str, set[str]]:
    """Return what docker holds, by kind."""
    listed = {
        "containers": ("ps", "--all", "--quiet", "--no-trunc"),
        "networks": ("network", "ls", "--quiet", "--no-trunc"),
        "volumes": ("volume", "ls", "--quiet"),
        "images": ("images", "--all", "--quiet", "--no-trunc"),
    }
    return {kind: set(docker(*command).split()) for kind, command in listed.items()}


def has_image(name: str) -> bool:
    """Return whether docker holds an image of this name."""
    return bool(docker("images", "--quiet", name).strip())


def _answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
