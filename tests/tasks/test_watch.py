"""Why a child run ends by itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed, Crashed, Running

from tasks import server, watch
from tasks.watch import Abandoned, ends_with_its_parent
from tests.tasks.fakes import Clock, FakeServer


class Family:
    """A run, and the one that asked for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.server = FakeServer(self.clock)
        self.parent = self.server.add(Running())
        self.run = self.server.add(Running(), parent=self.parent.id)
        self.server.read_task_run = lambda run: self._task_run()  # type: ignore[attr-defined]
        context = SimpleNamespace(flow_run=self.run.model_copy(update={"parent_task_run_id": uuid4()}))
        monkeypatch.setattr(watch.FlowRunContext, "get", lambda: context)
        monkeypatch.setattr(watch, "get_client", lambda sync_client: self.server)
        monkeypatch.setattr(server, "time", self.clock)
        monkeypatch.setattr(watch, "_watch", lambda *_: None)

    def _task_run(self) -> Any:
        self.server.read_work_pool("cpu")  # answers, or is away
        return SimpleNamespace(flow_run_id=self.parent.id)


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> Family:
    return Family(monkeypatch)


def begin() -> bool:
    with ends_with_its_parent():
        return True


def test_a_child_of_a_running_build_begins(family: Family) -> None:
    assert begin()


@pytest.mark.parametrize("state", [Cancelled(), Crashed(), Completed()], ids=lambda state: state.name)
def test_a_child_whose_build_is_over_does_not_begin(family: Family, state: State[Any]) -> None:
    family.server.become(family.parent, state)
    with pytest.raises(Abandoned, match=f"the run that asked for this one is {str(state.name).lower()}"):
        begin()


def test_a_run_that_counts_as_crashed_does_not_begin(family: Family) -> None:
    family.server.become(family.run, Crashed())
    with pytest.raises(Abandoned, match="this run is crashed"):
        begin()


def test_a_child_begins_when_the_server_is_back(family: Family) -> None:
    family.server.is_away = True
    family.clock.at(60, lambda: setattr(family.server, "is_away", False))
    assert begin()
    assert family.clock.now > 1060.0 - 4.0


def test_a_run_that_nobody_asked_for_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    run = FlowRun(id=uuid4(), flow_id=uuid4(), name="build")
    monkeypatch.setattr(watch.FlowRunContext, "get", lambda: SimpleNamespace(flow_run=run))
    assert begin()
