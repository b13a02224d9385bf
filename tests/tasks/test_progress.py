"""Progress that can't be told."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks import progress
from tasks.progress import StoppedError, StopSignal, console_progress, task_progress
from tests.tasks.fakes import Clock, refusal


class Artifacts:
    """What was told, and what is raised instead."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.error: Exception | None = None

    def create(self, percent: float, **_: Any) -> UUID:
        self._tell(percent)
        return uuid4()

    def update(self, artifact: UUID, percent: float, **_: Any) -> None:
        self._tell(percent)

    def _tell(self, percent: float) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(percent)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def artifacts(monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    artifacts = Artifacts()
    monkeypatch.setattr(progress, "create_progress_artifact", artifacts.create)
    monkeypatch.setattr(progress, "update_progress_artifact", artifacts.update)
    return artifacts


@pytest.mark.filterwarnings("ignore:Artifact creation outside")
def test_work_goes_on_while_no_server_listens(caplog: pytest.LogCaptureFixture) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        task_progress()("evaluate scene-0000", 1, 4)
    assert "the server can't be told of the progress: ConnectError" in caplog.text


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), refusal(500), ObjectNotFound(refusal(404))])
def test_a_server_that_comes_back_is_told_again(clock: Clock, artifacts: Artifacts, error: Exception) -> None:
    report = task_progress()
    report("frames", 1, 4)
    artifacts.error = error
    clock.sleep(10.0)
    report("frames", 2, 4)
    artifacts.error = None
    clock.sleep(10.0)
    report("frames", 3, 4)
    assert artifacts.told == [25.0], "a request that fails may take minutes; work is not kept up by each frame's"
    clock.sleep(60.0)
    report("frames", 4, 4)
    assert artifacts.told == [25.0, 100.0]


def test_a_defect_of_ours_is_not_hidden(artifacts: Artifacts) -> None:
    artifacts.error = TypeError("a defect")
    with pytest.raises(TypeError):
        task_progress()("frames", 1, 4)


def test_a_build_that_ends_stops_its_work_also_without_a_server(artifacts: Artifacts) -> None:
    artifacts.error = httpx.ConnectError("refused")
    stop = StopSignal()
    report = stop.watched(task_progress())
    report("frames", 1, 4)
    stop.set()
    with pytest.raises(StoppedError):
        report("frames", 2, 4)


def test_a_local_build_shows_its_progress(artifacts: Artifacts) -> None:
    shown: list[tuple[str, int, int]] = []
    with console_progress(lambda *what: shown.append(what)):
        task_progress()("frames", 1, 4)
    assert shown == [("frames", 1, 4)]
    assert artifacts.told == []
