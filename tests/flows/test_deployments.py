"""Deployments and automations as code: what they name exists, and their forms say what to fill in."""

from __future__ import annotations

import uuid
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.events.schemas.automations import AutomationCore
from prefect.utilities.schema_tools import ValidationError as ParametersError
from prefect.utilities.schema_tools import validate
from pydantic import ValidationError

from flows.build import build
from flows.request import BuildRequest
from tasks.pools import DEPLOYMENT
from tasks.settings import RunSettings
from tests.pipeline.test_serialization import WORK

FOLDER = Path(__file__).parents[2] / "deployments"
CONTENT: dict[str, Any] = yaml.safe_load((FOLDER / "prefect.yaml").read_text())
NAMED = {deployment["name"]: deployment for deployment in CONTENT["deployments"]}


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    module, _, name = deployment["entrypoint"].rpartition(".")
    found = getattr(import_module(module), name)
    assert isinstance(found, Flow)
    return found


def test_every_entrypoint_is_a_flow_and_every_delegated_step_has_one() -> None:
    there = {f"{flow_of(deployment).name}/{name}" for name, deployment in NAMED.items()}
    assert {DEPLOYMENT.format(pool=work.pool) for work in WORK} <= there
    assert {"build/build", "nightly/nightly", "build/on-new-input"} <= there


def test_pools_and_limits() -> None:
    pools = {name: deployment["work_pool"]["name"] for name, deployment in NAMED.items()}
    assert {name: pools[name] for name in ("cpu", "gpu", "edge")} == {"cpu": "cpu", "gpu": "gpu", "edge": "edge"}
    assert {pools[name] for name in ("build", "nightly", "on-new-input")} == {"cpu"}
    environments = {one["work_pool"]["name"]: one["work_pool"]["job_variables"]["env"] for one in NAMED.values()}
    assert environments["cpu"]["BEVFORMER_DEVICE"] == "cpu"
    assert all(environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30" for environment in environments.values())
    assert NAMED["nightly"]["concurrency_limit"]["limit"] == 1
    [schedule] = NAMED["nightly"]["schedules"]
    assert schedule["timezone"]


def test_the_form_has_bounds_choices_and_descriptions() -> None:
    schema = build.parameters.model_dump()
    request = schema["definitions"]["BuildRequest"]["properties"]
    assert all("description" in field for field in request.values())
    positions = [field["position"] for field in request.values()]
    assert positions == sorted(positions)
    assert list(request)[:4] == ["model", "checkpoint", "scenes", "store"]
    assert request["num_samples"]["minimum"] == 1
    assert request["converter"]["enum"] == ["onnxruntime", "pulsar2", "emulator"]
    settings = schema["definitions"]["RunSettings"]["properties"]
    assert not any("password" in str(field) for field in settings.values())


@pytest.mark.parametrize(
    ("field", "taken", "refused"),
    [
        ("model", ["tiny", "/configs/own.py"], ["tinny", "own.py", "configs/own", "../own.py"]),
        (
            "checkpoint",
            ["demo", "/w.pth", "hf://owner/repo@main/w.pth", "hf:///w.pth", "hf://@v1/w.pth", "file:///w.pth"],
            ["w.pth", "./w.pth", "~/w.pth", "hf://user:token@owner/w.pth", "hf://token@owner/w.pth", "https://a/w.pth"],
        ),
        ("scenes", ["/scenes", "hf:///inference_data"], ["scenes", "hf://user:token@host/scenes", "demo"]),
        ("store", ["/store", "s3://bucket", "s3://bucket/a b"], ["store", "s3://key:secret@bucket/x", "s3://key@b"]),
        ("policy", [None, "/gates.yaml"], ["gates.yaml", "https://user:password@host/gates.yaml"]),
    ],
)
def test_forms_refuse_relative_paths_and_credentials_which_the_command_line_takes(
    field: str, taken: list[str | None], refused: list[str]
) -> None:
    schema = build.parameters.model_dump_for_openapi()
    filled = {"model": "tiny", "checkpoint": "demo", "scenes": "/scenes", "store": "/store"}
    for value in taken:
        validate({"request": {**filled, field: value}}, schema, raise_on_error=True)
    for value in refused:
        with pytest.raises(ParametersError, match=field):
            validate({"request": {**filled, field: value}}, schema, raise_on_error=True)
        BuildRequest.model_validate({**filled, field: value})


@pytest.mark.parametrize("pasted", ["hf_AbCdEfGhIj", "AKIA/secret+key", "name with spaces"])
def test_a_pasted_secret_is_no_name_of_a_block(pasted: str) -> None:
    with pytest.raises(ValidationError):
        RunSettings(hub_token_block=pasted)


def test_a_block_left_empty_is_none() -> None:
    assert RunSettings(hub_token_block="", s3_block="") == RunSettings()


def test_what_starts_by_itself_can_name_the_blocks_of_its_secrets() -> None:
    for name in ("nightly", "on-new-input"):
        assert set(NAMED[name]["parameters"]["settings"]) == {"hub_token_block", "s3_block"}


@pytest.mark.parametrize("name", ["crashed", "gate", "notify"])
def test_automations_are_what_prefect_takes(name: str) -> None:
    text = (FOLDER / "automations" / f"{name}.yaml").read_text().replace("BLOCK_DOCUMENT_ID", str(uuid.uuid4()))
    for automation in yaml.safe_load(text)["automations"]:
        read = AutomationCore.model_validate(automation)
        assert read.enabled
        assert len(read.actions) == 1
