"""Pools that take no run, and the command that mends it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from prefect.states import Cancelling, Pending, Running, Scheduled

from tasks.pool_state import Deployed, PoolError
from tests.tasks.fakes import Clock, FakeServer

CONVERT = Deployed("batch/cpu", "cpu")


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(Clock(), deployments={"batch/cpu": "cpu", "local/local": None})


def why_idle(server: FakeServer, own: object) -> str | None:
    return CONVERT.why_idle(server, own)  # type: ignore[arg-type]


def test_a_deployment_and_its_pool_are_found(server: FakeServer) -> None:
    assert Deployed.find(server, "batch/cpu") == CONVERT  # type: ignore[arg-type]
    assert CONVERT.places(server) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "said"), [("batch/gpu", "the server has none of this name"), ("local/local", "has no work pool")]
)
def test_a_missing_deployment_is_an_error_with_the_command_that_registers_it(
    server: FakeServer, name: str, said: str
) -> None:
    with pytest.raises(PoolError, match=rf"{name}: {said}; register it: python deployments/register\.py"):
        Deployed.find(server, name)  # type: ignore[arg-type]


def test_a_missing_pool_is_an_error_with_the_command_that_creates_it(server: FakeServer) -> None:
    server.pool = None
    with pytest.raises(PoolError, match=r"work pool cpu: the server has none.*prefect work-pool create cpu --type"):
        Deployed.find(server, "batch/cpu")  # type: ignore[arg-type]


def test_a_paused_pool_is_an_error_with_the_command_that_resumes_it(server: FakeServer) -> None:
    server.paused = True
    with pytest.raises(PoolError, match="is paused; resume it: prefect work-pool resume cpu"):
        Deployed.find(server, "batch/cpu")  # type: ignore[arg-type]


def test_a_pool_without_workers_takes_nothing(server: FakeServer) -> None:
    server.workers.clear()
    assert "no worker polls it; start one: prefect worker start --pool cpu" in str(why_idle(server, uuid4()))


def test_a_pool_that_works_is_busy(server: FakeServer) -> None:
    build = server.add(Running())
    for state in (Pending(), Running(), Cancelling()):
        working = server.add(state, parent=uuid4())
        assert why_idle(server, build.id) is None
        del server.runs[working.id]
    assert "full with the build that waits" in str(why_idle(server, build.id))


def test_builds_that_wait_for_each_other_are_no_work(server: FakeServer) -> None:
    builds = [server.add(Running()) for _ in range(4)]
    for build in builds:
        server.add(Scheduled(), parent=build.id)
    assert all("full with the build that waits" in str(why_idle(server, build.id)) for build in builds)


def test_a_build_that_gets_on_elsewhere_will_make_room(server: FakeServer) -> None:
    waiting, other = server.add(Running()), server.add(Running())
    server.add(Scheduled(), parent=waiting.id)
    server.add(Scheduled(), parent=other.id)
    evaluate = server.add(Running(), parent=other.id, pool="edge")
    assert why_idle(server, waiting.id) is None
    del server.runs[evaluate.id]
    assert why_idle(server, waiting.id) is not None
