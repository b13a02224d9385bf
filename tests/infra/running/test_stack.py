"""The compose file as it is published: built, started, a night on it with a restart and a kill, and taken down."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.config.load import load_model_config
from bevformer_lib.model.checkpoint import make_checkpoint
from bevformer_lib.pipeline.runs import Run, find_run
from bevformer_lib.store.open import open_store
from tests.flows.conftest import MICRO
from tests.infra.files import INFRA, ROOT
from tests.infra.running.bases import Bases
from tests.infra.running.docker import KEEP_VARIABLE, compose_command, docker, everything, say
from tests.support.prefect_site import FINAL, Site, wait_for
from tests.support.scenes import write_scenes

COMPOSE = INFRA / "compose.yaml"
OVERRIDE = Path(__file__).with_name("override.yaml")
PROJECT = "bevformer-test-infra"
STORE = "s3://bevformer/night"
POOLS = ("cpu", "gpu", "edge")
AUTH = "planted:Pass word/7c21"
S3_SECRET = "PlantedSecret/Key+93ae"
SCENES, FRAMES = 3, 11
"""A night calibrates with 32 frames unless it is told otherwise."""
WORKER = 1000
"""User of the workers' images."""


@dataclass
class Stack:
    """The stack, running.

    Attributes:
        site: Prefect's server and the host's command line.
        command: docker compose with the files and settings of this stack.
        scratch: the workers' ``WORK_FOLDER``.
        before: what docker held before.
    """

    site: Site
    command: list[str]
    scratch: Path
    before: dict[str, set[str]]

    def compose(self, *arguments: str) -> str:
        started = time.monotonic()
        done = subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
            check=False,
        )
        assert done.returncode == 0, f"compose {' '.join(arguments)}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
        say(f"compose {' '.join(arguments)}: {time.monotonic() - started:.0f} s")
        return done.stdout

    def answers(self) -> bool:
        """Return whether the server does."""
        with contextlib.suppress(AssertionError, OSError):
            self.site.call("health")
            return True
        return False

    def child(self, run: str, name: str) -> dict[str, Any]:
        """Wait until a child run of this name is at work."""

        def look() -> dict[str, Any] | None:
            assert self.site.state(run) not in FINAL, self.site.call(f"flow_runs/{run}")["state"]
            found = [one for one in self.site.children(run) if one["name"].startswith(name)]
            return next((one for one in found if one["state_type"] == "RUNNING"), None)

        return dict(wait_for(look, f"{name} at work", 600.0))

    def process_of(self, service: str) -> int:
        container = self.compose("ps", "--quiet", service).strip()
        return int(docker("inspect", "--format", "{{.State.Pid}}", container))

    def what(self, run: str) -> Run:
        return find_run(open_store(STORE), run)


def ran(run: Run) -> list[str]:
    return [step.title for step in run.steps if step.ran]


def named(printed: str) -> str:
    """Return the run that Prefect's command line says it made."""
    return re.findall(r"UUID: ([0-9a-f-]{36})", printed)[0]


@pytest.fixture(scope="module")
def stack(bases: Bases) -> Iterator[Stack]:
    """Everything up, with inputs that host and workers see under one path, deployed from the host."""
    before = everything()
    bases.make_for(COMPOSE.read_text())
    bases.make_for((INFRA / "docker" / "cpu.Dockerfile").read_text())
    scratch = Path(tempfile.mkdtemp(prefix="bevformer-stack-", dir="/var/tmp"))
    settings = {
        "POSTGRES_PASSWORD": "p@ss/w:rd#%",
        "PREFECT_AUTH_STRING": AUTH,
        "S3_ACCESS_KEY": "planted",
        "S3_SECRET_KEY": S3_SECRET,
        "DOCKER_GROUP": str(Path("/var/run/docker.sock").stat().st_gid),
        "WORK_FOLDER": str(scratch / "work"),
    }
    (scratch / "env").write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    write_inputs(scratch / "work")
    command = [*compose_command(), "--project-name", PROJECT, "--env-file", str(scratch / "env")]
    command += ["--file", str(COMPOSE), "--file", str(OVERRIDE)]
    client = {
        "PREFECT_API_URL": "http://127.0.0.1:4200/api",
        "PREFECT_API_AUTH_STRING": AUTH,
        "PREFECT_HOME": str(scratch / "prefect"),
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000",
        "AWS_ACCESS_KEY_ID": settings["S3_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "BEVFORMER_CACHE": str(scratch / "cache"),
        "DO_NOT_TRACK": "1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client.items():
            patch.setenv(name, value)
        site = Site(scratch, dict(os.environ), client["PREFECT_API_URL"], auth=AUTH)
        running = Stack(site, command, scratch, before)
        try:
            running.compose("build")
            running.compose("up", "--detach", "--wait", "--wait-timeout", "300")
            wait_for(lambda: all(site.online(pool) for pool in POOLS), "workers of all pools", 180.0)
            deploy(site, scratch / "work")
            yield running
        finally:
            take_down(running)
            shutil.rmtree(scratch)


def write_inputs(work: Path) -> None:
    """Write a model, its checkpoint and scenes into the workers' scratch folder, which its user may write."""
    inputs = work / "inputs"
    shutil.copytree(ROOT / "tests" / "config" / "fixtures", inputs / "config" / "fixtures")
    (inputs / "support").mkdir()
    shutil.copy(MICRO, inputs / "support")
    make_checkpoint(load_model_config(str(MICRO)), inputs / "checkpoint.pth")
    write_scenes(inputs / "scenes", num_scenes=SCENES, frames_per_scene=FRAMES)
    work.parent.chmod(0o755)
    for path in (work, *work.rglob("*")):
        os.chown(path, WORKER, WORKER)


def deploy(site: Site, work: Path) -> None:
    """Register the deployments as docs/nightly.md says."""
    inputs = {
        "BEVFORMER_MODEL": str(work / "inputs" / "support" / MICRO.name),
        "BEVFORMER_CHECKPOINT": str(work / "inputs" / "checkpoint.pth"),
        "BEVFORMER_SCENES": str(work / "inputs" / "scenes"),
        "BEVFORMER_STORE": STORE,
        "BEVFORMER_CONVERTER": "onnxruntime",
        "BEVFORMER_RUNTIME": "onnxruntime",
    }
    command = [sys.executable, "deployments/register.py"]
    done = subprocess.run(
        command, cwd=ROOT, env={**site.environment, **inputs}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def take_down(stack: Stack) -> None:
    """End and remove everything but what docker held before, and the stand-ins."""
    stack.compose("--profile", "gpu", "down", "--volumes", "--remove-orphans", "--timeout", "20")
    if not os.environ.get(KEEP_VARIABLE):
        for image in docker("images", "--quiet", "bevformer-cpu").split():
            docker("rmi", image)


def test_every_service_is_up_and_those_that_end_have_ended_well(stack: Stack) -> None:
    listed = [json.loads(line) for line in stack.compose("ps", "--all", "--format", "json").splitlines()]
    states = {one["Service"]: (one["State"], one["ExitCode"], one["Health"]) for one in listed}
    for service in ("postgres", "redis", "prefect-server", "s3"):
        assert states.pop(service) == ("running", 0, "healthy"), service
    for service in ("migrate", "buckets", "pools"):
        assert states.pop(service)[:2] == ("exited", 0), service
    assert {service: state[0] for service, state in states.items()} == dict.fromkeys(
        ("prefect-services", "worker-cpu", "gpu-pool", "edge-pool"), "running"
    )


def test_the_ui_asks_the_server_it_came_from_and_the_api_a_password(stack: Stack) -> None:
    settings = json.loads(docker_python(stack, "http://127.0.0.1:4200/ui-settings"))
    assert settings["api_url"] == "/api"
    refused = Site(stack.site.folder, {}, stack.site.api)
    with pytest.raises(AssertionError, match="401"):
        refused.call("flow_runs/filter", {})


def docker_python(stack: Stack, url: str) -> str:
    """Return what the server answers within its container."""
    code = f"import urllib.request; print(urllib.request.urlopen({url!r}).read().decode())"
    return stack.compose("exec", "-T", "prefect-server", "python", "-c", code)


def test_a_night_goes_on_while_the_server_restarts_and_a_worker_is_killed(stack: Stack) -> None:
    site = stack.site
    night = named(site.prefect("deployment", "run", "nightly/nightly"))
    stack.child(night, "calibration-prev-bev")
    stack.compose("restart", "prefect-server")
    wait_for(stack.answers, "the server after its restart", 180.0, 1.0)
    evaluate = stack.child(night, "evaluate")
    os.kill(stack.process_of("edge-pool"), signal.SIGKILL)  # worker and run together; docker starts the worker again
    killed = time.monotonic()
    wait_for(lambda: site.state(evaluate["id"]) == "CRASHED", "the kill to be noticed", 420.0, 1.0)
    say(f"the kill was noticed after {time.monotonic() - killed:.0f} s")
    ended = site.ended(night, 900.0)
    say(f"the night took {ended['total_run_time']:.0f} s")
    assert ended["state_type"] == "COMPLETED", ended["state"]
    found = stack.what(night)
    assert ran(found) == [step.title for step in found.steps]
    children = site.children(night)
    assert {child["work_pool_name"] for child in children} == set(POOLS)
    again = [child["state_type"] for child in children if child["name"].startswith("evaluate")]
    assert again[0] == "CRASHED"
    assert set(again[1:]) <= {"COMPLETED"}, "what was recorded before the kill is not done again, maybe all of it"


def test_a_night_with_nothing_new_starts_no_work(stack: Stack) -> None:
    started = time.monotonic()
    printed = stack.site.prefect("deployment", "run", "nightly/nightly", "--watch")
    say(f"a night with nothing new, from the command line: {time.monotonic() - started:.0f} s")
    assert "Completed" in printed
    night = named(printed)
    assert stack.site.children(night) == []
    assert ran(stack.what(night)) == []


def test_what_was_built_can_be_fetched_from_the_host(stack: Stack, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("bevformer"))]
    subprocess.run([*command, "store", "get", STORE, "latest", "--output", tmp_path / "build"], check=True)
    assert (tmp_path / "build" / "report.html").stat().st_size > 1000
    subprocess.run([*command, "store", "verify", STORE], check=True)


def test_doctor_finds_the_store_and_the_server_in_order(stack: Stack) -> None:
    program = str(Path(sys.executable).with_name("bevformer"))
    command = [program, "doctor", "--role", "cpu", "--store", STORE]
    wide = {**os.environ, "COLUMNS": "200"}  # no table over several lines
    done = subprocess.run(command, env=wide, capture_output=True, text=True, check=False)
    assert "conditional writes are kept" in done.stdout, done.stdout
    assert "polled by" in done.stdout, done.stdout


def test_starting_again_changes_nothing_and_loses_nothing(stack: Stack) -> None:
    before = open_store(STORE).list_kinds()
    stack.compose("stop", "--timeout", "60")
    stack.compose("up", "--detach", "--wait", "--wait-timeout", "300")
    wait_for(lambda: all(stack.site.online(pool) for pool in POOLS), "workers of all pools", 180.0)
    assert open_store(STORE).list_kinds() == before
    assert "Completed" in stack.site.prefect("deployment", "run", "nightly/nightly", "--watch")


def test_it_is_taken_down_and_nothing_is_left(stack: Stack) -> None:
    take_down(stack)
    left = {kind: held - stack.before[kind] for kind, held in everything().items() if kind != "images"}
    assert not any(left.values()), left
