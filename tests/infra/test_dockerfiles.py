from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from tests.infra.files import INFRA, ROOT, check

DOCKERFILES = sorted([*INFRA.glob("docker/*.Dockerfile"), INFRA / "openmmlab" / "Dockerfile"])


def instructions(path: Path) -> list[dict]:
    return DockerfileParser(fileobj=path.open("rb")).structure


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
