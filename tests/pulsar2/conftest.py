from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pulsar2.support import running_standins
from tests.standins.install import install_standin
from tests.support.calibration import ToyWorld, make_calibration, make_toy_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy wörld"), num_scenes=2, frames_per_scene=3)


@pytest.fixture(scope="session")
def calibration(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(world, tmp_path_factory.mktemp("cälibration"), num_samples=3)


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in of pulsar2, found on the path."""
    command = install_standin("pulsar2", tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")
    return command


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in of docker, found on the path, with no pulsar2 beside it; gives its state folder."""
    command = install_standin("docker", tmp_path / "docker bin")
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")
    state = tmp_path / "docker state"
    monkeypatch.setenv("STANDIN_DOCKER_STATE", str(state))
    return state


@pytest.fixture(params=["native", "docker"])
def place(request: pytest.FixtureRequest) -> str:
    """Run the stand-in of pulsar2 natively, and behind the stand-in of docker."""
    request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Mark what this test starts, and look for it afterwards."""
    monkeypatch.setenv("STANDIN_STARTED_BY", str(os.getpid()))
    yield
    deadline = time.monotonic() + 5
    while running_standins() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running_standins() == []
