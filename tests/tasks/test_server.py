"""A server that is away, and one that refuses."""

from __future__ import annotations

import httpx
import pytest

from tasks import server
from tasks.server import SERVER_SECONDS, patiently
from tests.tasks.fakes import Clock, refusal


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(server, "time", clock)
    return clock


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("late"), refusal(503)])
def test_a_server_that_is_away_is_asked_again(clock: Clock, error: Exception) -> None:
    def ask() -> str:
        if clock.now < 1000.0 + 0.9 * SERVER_SECONDS:
            raise error
        return "answer"

    assert patiently(ask, "a block") == "answer"


@pytest.mark.parametrize("status", [401, 404, 422])
def test_a_refusal_is_one_at_once(clock: Clock, status: int) -> None:
    def ask() -> None:
        raise refusal(status)

    with pytest.raises(httpx.HTTPStatusError):
        patiently(ask, "a block")
    assert clock.now == 1000.0


def test_patience_ends(clock: Clock) -> None:
    def ask() -> None:
        raise httpx.ConnectError("refused")

    with pytest.raises(httpx.ConnectError):
        patiently(ask, "a block")
    assert clock.now - 1000.0 >= SERVER_SECONDS
