from __future__ import annotations

import fnmatch
import json
import re
import shlex
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser
from prefect.workers.base import BaseJobConfiguration

from tests.infra.files import INFRA, ROOT, check

DOCKERFILES = sorted([*INFRA.glob("docker/*.Dockerfile"), INFRA / "openmmlab" / "Dockerfile"])


WORKERS = [path for path in DOCKERFILES if path.parent.name == "docker"]


def instructions(path: Path) -> list[dict]:
    return DockerfileParser(fileobj=path.open("rb")).structure


def started_by(path: Path, command: list[str] | None = None) -> list[str]:
    """The process of a container: the image's ENTRYPOINT with a command, or else with its CMD."""
    last = {item["instruction"]: item["value"] for item in instructions(path)}
    return json.loads(last.get("ENTRYPOINT", "[]")) + (command or json.loads(last["CMD"]))


@pytest.mark.parametrize("path", WORKERS, ids=lambda path: path.stem)
def test_an_image_starts_a_worker_or_what_a_pool_asks_for(path: Path) -> None:
    run = shlex.split(BaseJobConfiguration._base_flow_run_command())
    assert started_by(path, run) == ["prefect", "flow-run", "execute"]
    pool = path.name.partition(".")[0]
    assert started_by(path)[:7] == ["prefect", "worker", "start", "--type", "process", "--pool", pool]


@pytest.mark.parametrize("path", WORKERS, ids=lambda path: path.stem)
def test_what_an_image_says_of_its_machine(path: Path) -> None:
    environment = DockerfileParser(fileobj=path.open("rb")).envs
    assert environment.get("BEVFORMER_DEVICE") == ("cuda" if path.name == "gpu.Dockerfile" else None)
    for name in ("BEVFORMER_CACHE", "HF_HOME"):
        assert Path(environment[name]).parent == Path("/var/lib/bevformer")


def test_no_pipe_is_closed_before_it_is_read() -> None:
    """With pipefail, `grep --quiet` fails the build whenever what writes to it is slower than its first match."""
    for path in DOCKERFILES:
        assert not re.search(r"\|\s*grep\b.*\s(-q|--quiet)\b", path.read_text()), path.name


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_hadolint(path: Path) -> None:
    check("hadolint", path)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_what_is_copied_is_in_the_build_context(path: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    admitted = [line[1:] for line in ignored if line.startswith("!")]
    for instruction in instructions(path):
        if instruction["instruction"] != "COPY" or "--from=" in instruction["value"]:
            continue
        *sources, _ = instruction["value"].split()
        for source in sources:
            assert any(fnmatch.fnmatch(source, pattern) for pattern in admitted), source


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_the_last_user_is_not_root_and_bases_have_a_version(path: Path) -> None:
    found = instructions(path)
    users = [item["value"] for item in found if item["instruction"] == "USER"]
    assert users and users[-1] not in ("root", "0")
    for item in found:
        if item["instruction"] == "FROM":
            assert re.search(r":[^ ]*\d", item["value"]), item["value"]


def test_extras_that_images_install_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for path in DOCKERFILES:
        for extras in re.findall(r'"/app\[([a-z0-9,]+)\]"', path.read_text()):
            for extra in extras.split(","):
                assert f"\n{extra} = [" in project, f"{path.name}: {extra}"
