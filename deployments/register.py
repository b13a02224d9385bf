"""Registers the deployments and automations on the server that PREFECT_API_URL names, or brings them up to date.

    python deployments/register.py
    python deployments/register.py --automations crashed.yaml notify.yaml

As often as you like. Beyond `prefect deploy --all` and `prefect automation create`, which it uses:

- what an operator paused stays paused;
- an input or a block that no variable names stays as it was registered, and so does every other parameter of the night;
  the first time, the inputs have to be named;
- an automation that is there is updated, not made a second time;
- a run with a parameter that there is not is refused, with the parameter's name.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

FOLDER: Final = Path(__file__).resolve().parent
PREFECT_FILE: Final = FOLDER / "prefect.yaml"
INPUTS: Final = {
    f"BEVFORMER_{name.upper()}": name for name in ("model", "checkpoint", "scenes", "store", "converter", "runtime")
}
"""Variable -> field of the night's request."""
BLOCKS: Final = {"BEVFORMER_HUB_TOKEN_BLOCK": "hub_token_block", "BEVFORMER_S3_BLOCK": "s3_block"}
"""Variable -> field of the night's settings."""
_NIGHT: Final = "nightly/nightly"


async def registered_parameters(client: PrefectClient) -> dict[str, dict[str, Any]]:
    """Return the night's request and settings as they are registered; empty ones before the first time."""
    parameters: dict[str, Any] = {}
    with contextlib.suppress(ObjectNotFound):
        parameters = (await client.read_deployment_by_name(_NIGHT)).parameters
    return {name: parameters.get(name) or {} for name in ("request", "settings")}


def variables(registered: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the night's variables: as given, or else as they are registered.

    Raises:
        SystemExit: an input is neither given nor registered.
    """
    request, settings = registered["request"], registered["settings"]
    found = {name: environment.get(name) or request.get(field) or "" for name, field in INPUTS.items()}
    if missing := [name for name, field in INPUTS.items() if not environment.get(name) and field not in request]:
        sys.exit(f"set {', '.join(missing)} (docs/nightly.md): the night's inputs are registered for the first time")
    # A block that is given as nothing is taken away; one that is not given stays.
    found |= {name: environment.get(name, settings.get(field) or "") for name, field in BLOCKS.items()}
    return {name: str(value) for name, value in found.items()}


async def keep_parameters(
    client: PrefectClient, before: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]
) -> None:
    """Put back what was set in the UI and no variable names, as the number of samples or the policy."""
    night = await client.read_deployment_by_name(_NIGHT)
    given = {field for name, field in {**INPUTS, **BLOCKS}.items() if name in environment}
    kept = {}
    for name, old in before.items():
        new = night.parameters.get(name) or {}
        kept[name] = {**new, **old, **{field: new[field] for field in given & new.keys()}}
    change = {"parameters": {**night.parameters, **kept}}
    await client.request("PATCH", "/deployments/{id}", path_params={"id": night.id}, json=change)


async def refuse_unknown_parameters(client: PrefectClient) -> None:
    """Close the forms: Prefect leaves them open, and a run with a mistyped parameter would crash without a reason."""
    for one in yaml.safe_load(PREFECT_FILE.read_text())["deployments"]:
        name = f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}"
        deployment = await client.read_deployment_by_name(name)
        if deployment.enforce_parameter_schema and deployment.parameter_openapi_schema is not None:
            schema = {**deployment.parameter_openapi_schema, "additionalProperties": False}
            change = {"parameter_openapi_schema": schema}
            await client.request("PATCH", "/deployments/{id}", path_params={"id": deployment.id}, json=change)


async def put_automation(client: PrefectClient, content: dict[str, Any]) -> str:
    """Make an automation, or update the one of its name, which stays paused if it is; return what was done."""
    automation = AutomationCore.model_validate(content)
    found = await client.read_automations_by_name(automation.name)
    if not found:
        await client.create_automation(automation)
        return "made"
    for index, old in enumerate(found):
        if index:
            await client.delete_automation(old.id)
        else:
            await client.update_automation(old.id, automation.model_copy(update={"enabled": old.enabled}))
    return "updated" if len(found) == 1 else f"updated, {len(found) - 1} of the same name removed"


async def register(automations: list[Path]) -> None:
    """Register everything."""
    async with get_client() as client:
        before = await registered_parameters(client)
        environment = {**os.environ, **variables(before, os.environ)}
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", PREFECT_FILE, "--all"]
        if (status := subprocess.run(command, cwd=FOLDER.parent, env=environment, check=False).returncode) != 0:
            sys.exit(status)
        await keep_parameters(client, before, os.environ)
        await refuse_unknown_parameters(client)
        for path in automations:
            for content in yaml.safe_load(path.read_text())["automations"]:
                sys.stdout.write(f"automation {content['name']}: {await put_automation(client, content)}\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--automations", nargs="*", type=Path, default=[FOLDER / "automations" / "crashed.yaml"], help="YAML files"
    )
    asyncio.run(register(parser.parse_args().automations))


if __name__ == "__main__":
    main()
