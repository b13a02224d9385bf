"""Child runs whose machines die and whose server is away."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Crashed, Failed, Pending, Running

from bevformer_lib.errors import StoreUnreachableError
from bevformer_lib.pipeline.work import Work
from tasks import children, server
from tasks.children import Children
from tasks.pool_state import Deployed, PoolError
from tasks.settings import RunSettings
from tests.tasks.fakes import Clock, FakeServer, refusal
from tests.tasks.test_batches import scenes

PICK_UP_SECONDS = 120.0


class Site:
    """A step in two parts, its children, and the machines that do them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.server = FakeServer(self.clock)
        self.work = scenes(4, 4)
        self.done: set[str] = set()
        self.store_is_away = False
        monkeypatch.setattr(children, "time", self.clock)
        monkeypatch.setattr(server, "time", self.clock)
        monkeypatch.setattr(children, "get_client", lambda sync_client: self.server)
        monkeypatch.setattr(children, "_run_deployment", self.server.run_deployment)

    def do(self, *work: Work) -> None:
        settings = RunSettings(pick_up_seconds=PICK_UP_SECONDS)
        deployed = Deployed("batch/edge", "cpu")
        Children(uuid4(), "s3://night", deployed, settings, self._is_done).do([[one] for one in work or self.work])

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        self.clock.at(seconds, action)

    def begin(self, number: int = 0, worker: str = "server") -> None:
        self.server.become(self.run(number), Running(), worker=worker)

    def pend(self, number: int = 0, worker: str = "server") -> None:
        self.server.become(self.run(number), Pending(), worker=worker)

    def crash(self, number: int = 0) -> None:
        self.server.become(self.run(number), Crashed(message="killed"))

    def finish(self, number: int = 0, part: int = 0) -> None:
        self.done.add(self.work[part].step.key)
        self.server.become(self.run(number), Completed())

    def run(self, number: int) -> FlowRun:
        return self.server.runs[self.server.asked[number].id]

    def states(self) -> list[str]:
        return [str(self.run(number).state_type.value) for number in range(len(self.server.asked))]  # type: ignore[union-attr]

    def away(self, *, until: float) -> None:
        self.server.is_away = True
        self.at(until, lambda: setattr(self.server, "is_away", False))

    def _is_done(self, work: Work) -> bool:
        if self.store_is_away:
            raise StoreUnreachableError("s3://night: can't be reached")
        return work.step.key in self.done


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def test_all_is_done_by_children(site: Site) -> None:
    site.at(10, site.begin)
    site.at(20, lambda: site.begin(1))
    site.at(30, site.finish)
    site.at(40, lambda: site.finish(1, 1))
    site.do()
    assert site.states() == ["COMPLETED", "COMPLETED"]
    assert [len(run.parameters["work"]) for run in site.server.asked] == [1, 1]


def test_a_server_that_is_away_at_first_is_waited_for(site: Site) -> None:
    site.away(until=300)
    site.at(310, site.begin)
    site.at(320, site.finish)
    site.do(site.work[0])
    assert site.states() == ["COMPLETED"]


def test_a_crashed_child_is_begun_again_though_the_server_is_away_just_then(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = site.server.run_deployment

    def begin(name: str, **arguments: Any) -> FlowRun:
        if site.server.asked and site.clock.now < 1100.0:
            raise httpx.ConnectError("refused")
        return ask(name, **arguments)

    monkeypatch.setattr(children, "_run_deployment", begin)
    site.at(10, site.begin)
    site.at(20, site.crash)
    site.at(110, lambda: site.begin(1))
    site.at(120, lambda: site.finish(1))
    site.do(site.work[0])
    assert site.states() == ["CRASHED", "COMPLETED"]
    assert site.done == {site.work[0].step.key}


def test_an_answer_that_was_lost_begins_nothing_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, answers = site.server.run_deployment, []

    def begin(name: str, **arguments: Any) -> FlowRun:
        answers.append(ask(name, **arguments))
        if len(answers) == 1:
            raise httpx.ReadError("reset")
        return answers[-1]

    monkeypatch.setattr(children, "_run_deployment", begin)
    site.at(10, site.begin)
    site.at(20, site.finish)
    site.do(site.work[0])
    assert len(answers) == 2
    assert len(site.server.asked) == 1


def test_a_store_that_is_away_for_a_moment_is_asked_again(site: Site) -> None:
    site.at(10, site.begin)
    site.at(20, lambda: setattr(site, "store_is_away", True))
    site.at(21, site.finish)
    site.at(80, lambda: setattr(site, "store_is_away", False))
    site.do(site.work[0])
    assert site.states() == ["COMPLETED"]


def test_what_kills_every_machine_does_not_go_round_for_ever(site: Site) -> None:
    for number in range(3):
        site.at(10 + 10 * number, partial(site.crash, number))
    with pytest.raises(PoolError, match="on pool cpu crashed: killed"):
        site.do(site.work[0])
    assert site.states() == ["CRASHED"] * 3


def test_a_failed_child_fails_the_step_when_the_others_are_done(site: Site) -> None:
    site.at(10, lambda: site.server.become(site.run(0), Failed(message="bad scene")))
    site.at(20, lambda: site.begin(1))
    site.at(30, lambda: site.finish(1, 1))
    with pytest.raises(PoolError, match="failed: bad scene"):
        site.do()
    assert site.states() == ["FAILED", "COMPLETED"]


def test_a_refusal_ends_the_step_and_its_children(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **arguments: Any) -> FlowRun:
        raise refusal(422)

    site.at(10, lambda: monkeypatch.setattr(children, "_run_deployment", refuse))
    site.at(11, site.crash)
    site.at(11, lambda: site.begin(1))
    with pytest.raises(httpx.HTTPStatusError):
        site.do()
    assert site.states()[1] == "CANCELLED"


def test_a_server_that_does_not_come_back_is_given_up(site: Site) -> None:
    site.at(10, site.begin)
    site.at(20, lambda: setattr(site.server, "is_away", True))
    with pytest.raises(httpx.ConnectError):
        site.do(site.work[0])
    assert site.clock.now > 1600.0


def test_a_machine_that_dies_is_noticed_by_its_pool_without_workers(site: Site) -> None:
    site.at(10, site.begin)
    site.at(60, site.server.workers.clear)
    site.at(200, lambda: site.server.workers.add("next"))
    site.at(210, lambda: site.begin(1, "next"))
    site.at(220, lambda: site.finish(1))
    site.do(site.work[0])
    assert site.states() == ["CRASHED", "COMPLETED"]
    assert "no worker of pool cpu is online" in str(site.run(0).state.message)  # type: ignore[union-attr]


@pytest.mark.parametrize("client_waits", [False, True])
def test_workers_that_an_outage_made_silent_are_not_taken_for_dead(site: Site, client_waits: bool) -> None:
    """After an outage all workers are offline until their next heartbeats."""
    site.at(10, site.begin)
    site.at(150, site.server.workers.clear)
    if client_waits:  # Prefect's client asks again by itself, so that nothing fails
        site.at(150, lambda: setattr(site.server, "before_answer", wait_once))
    else:
        site.at(150, lambda: site.away(until=270))

    def wait_once() -> None:
        site.server.before_answer = lambda: None
        site.clock.sleep(120.0)

    site.at(360, lambda: site.server.workers.add("server"))
    site.at(900, site.finish)
    site.do(site.work[0])
    assert site.states() == ["COMPLETED"]


def test_a_build_does_not_give_up_on_workers_that_an_outage_made_silent(site: Site) -> None:
    site.at(50, site.server.workers.clear)
    site.at(50, lambda: site.away(until=170))
    site.at(260, lambda: site.server.workers.add("server"))
    site.at(265, site.begin)
    site.at(300, site.finish)
    site.do(site.work[0])
    assert site.states() == ["COMPLETED"]


def test_workers_that_stay_away_after_an_outage_are_dead(site: Site) -> None:
    site.at(10, site.begin)
    site.at(150, site.server.workers.clear)
    site.at(150, lambda: site.away(until=270))
    site.at(550, lambda: site.server.workers.add("next"))
    site.at(560, lambda: site.begin(1))
    site.at(570, lambda: site.finish(1))
    site.do(site.work[0])
    assert site.states() == ["CRASHED", "COMPLETED"]


def test_nothing_is_taken(site: Site) -> None:
    site.server.workers.clear()
    with pytest.raises(
        PoolError, match=r"no worker polls it.*nothing was taken for 120 s; the setting pick_up_seconds"
    ):
        site.do()
    assert site.states() == ["CANCELLED", "CANCELLED"]


def test_a_run_that_never_began_is_begun_again_when_its_worker_is_gone(site: Site) -> None:
    site.at(10, lambda: site.pend(worker="board"))
    site.at(350, lambda: site.begin(1))
    site.at(360, lambda: site.finish(1))
    site.do(site.work[0])
    assert site.states() == ["CRASHED", "COMPLETED"]
    assert "did not begin within 30" in str(site.run(0).state.message)  # type: ignore[union-attr]


def test_a_slow_start_is_waited_for(site: Site) -> None:
    site.at(10, lambda: site.pend(worker="server"))  # pulls a container
    site.at(1500, site.begin)
    site.at(1510, site.finish)
    site.do(site.work[0])
    assert site.states() == ["COMPLETED"]


def test_a_start_is_waited_for_while_no_worker_is_online(site: Site) -> None:
    site.at(10, lambda: site.pend(worker="server"))
    site.at(20, site.server.workers.clear)  # a Job starts without its worker
    site.at(290, site.begin)
    site.at(300, site.finish)
    site.do(site.work[0])
    assert site.states() == ["COMPLETED"]


def test_a_worker_that_came_back_under_its_name_knows_nothing_of_what_it_took(site: Site) -> None:
    site.at(10, lambda: site.pend(worker="server"))
    site.at(1850, lambda: site.begin(1))
    site.at(1860, lambda: site.finish(1))
    site.do(site.work[0])
    assert site.states() == ["CRASHED", "COMPLETED"]
