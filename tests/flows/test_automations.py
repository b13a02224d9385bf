"""What is watched for silence, and how long silence may be."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.types._datetime import now

from tasks.server import SERVER_SECONDS
from tests.flows.test_deployments import FOLDER, NAMED, flow_of

AUTOMATIONS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "automations" / "crashed.yaml").read_text())["automations"]
HEARTBEAT_SECONDS = 30.0
EVENTS = ("Running", "heartbeat", "Completed", "Failed", "Crashed", "Cancelled", "Cancelling")


def trigger_of(automation: dict[str, Any]) -> EventTrigger:
    read = AutomationCore.model_validate(automation).trigger
    return EventTrigger.model_validate(read.model_dump(mode="json"))


def event(name: str, flow: str, tag: str = "bevformer") -> ReceivedEvent:
    """What Prefect makes of a run's heartbeats and states."""
    related = [
        {
            "prefect.resource.id": f"prefect.flow.{uuid4()}",
            "prefect.resource.role": "flow",
            "prefect.resource.name": flow,
        },
        {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"},
    ]
    resource = {"prefect.resource.id": f"prefect.flow-run.{uuid4()}"}
    return ReceivedEvent(
        occurred=now("UTC"), event=f"prefect.flow-run.{name}", resource=resource, related=related, id=uuid4()
    )


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("deployment", NAMED)
def test_every_run_is_watched_by_one_automation(deployment: str, name: str) -> None:
    flow = flow_of(NAMED[deployment]).name
    assert sum(trigger_of(automation).covers(event(name, flow)) for automation in AUTOMATIONS) == 1


@pytest.mark.parametrize("automation", AUTOMATIONS, ids=lambda automation: automation["name"])
def test_silence_counts_from_the_begin_of_a_run(automation: dict[str, Any]) -> None:
    trigger = trigger_of(automation)
    assert {name for name in EVENTS if trigger.starts_after(f"prefect.flow-run.{name}")} == {"Running", "heartbeat"}
    assert {name for name in EVENTS if trigger.expects(f"prefect.flow-run.{name}")} == {*EVENTS} - {"Running"}


def test_what_is_not_ours_is_let_be() -> None:
    assert not any(trigger_of(one).covers(event("heartbeat", "build", tag="other")) for one in AUTOMATIONS)


def test_a_build_outlives_the_outages_that_it_waits_for() -> None:
    """Its last heartbeat may be as old as the time between two when the server goes away."""
    [seconds] = [
        trigger.within.total_seconds()
        for trigger in map(trigger_of, AUTOMATIONS)
        if trigger.covers(event("heartbeat", "nightly"))
    ]
    assert seconds >= SERVER_SECONDS + HEARTBEAT_SECONDS
