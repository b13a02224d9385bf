from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose
from prefect.settings import Settings
from sqlalchemy import make_url

from flows.local_server import LocalServer
from tests.infra.files import INFRA, unknown_prefect_settings

PATH = INFRA / "compose.yaml"
TEXT = PATH.read_text()
SECRETS = ("PASSWORD", "SECRET", "AUTH_STRING", "ACCESS_KEY", "TOKEN")


def content() -> dict:
    """The file as compose sees it: merged, without its own extension fields."""
    loaded = yaml.safe_load(TEXT)
    return {key: value for key, value in loaded.items() if not key.startswith("x-")}


def filled_in() -> dict:
    """The file with its variables filled in, as a user's `.env` would."""
    values = {"WORK_FOLDER": "/work", "DOCKER_GROUP": "998"}
    text = re.sub(r"(?<!\$)\$\{([A-Z0-9_]+)[^}]*\}", lambda found: values.get(found[1], "value"), TEXT)
    return {key: value for key, value in yaml.safe_load(text).items() if not key.startswith("x-")}


def test_it_keeps_to_the_specification() -> None:
    PyCompose.from_json(json.dumps(filled_in())).validate()
    broken = filled_in()
    broken["services"]["redis"]["restarts"] = "always"
    with pytest.raises(ValueError, match="restarts"):
        PyCompose.from_json(json.dumps(broken)).validate()


def test_services_wait_for_services_that_exist_and_can_say_that_they_are_ready() -> None:
    services = content()["services"]
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in services, f"{name} waits for {other}"
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{other} has no healthcheck"
            else:
                assert services[other]["restart"] == "on-failure", f"{other} would never be completed"


def test_prefects_settings_exist() -> None:
    for service in content()["services"].values():
        assert unknown_prefect_settings(service.get("environment", {})) == []
    assert unknown_prefect_settings(["PREFECT_SERVER_DATABSE_CONNECTION_URL"])


def test_variables_are_explained_and_no_secret_is_written_down() -> None:
    example = (INFRA / "env.example").read_text()
    explained = set(re.findall(r"^([A-Z0-9_]+)=", example, re.MULTILINE))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", TEXT))
    assert used == explained
    for service in content()["services"].values():
        for name, value in service.get("environment", {}).items():
            if any(part in name for part in SECRETS):
                assert str(value).startswith("${"), name
    for name in explained:
        if any(part in name for part in SECRETS):
            assert f"\n{name}=\n" in f"\n{example}\n", name


def test_named_files_exist() -> None:
    for service in content()["services"].values():
        build = service.get("build")
        if build:
            assert (INFRA / build["context"] / build["dockerfile"]).is_file()
        for volume in service.get("volumes", []):
            if isinstance(volume, str) and volume.startswith("./"):
                assert (INFRA / volume.split(":")[0]).is_dir()


def test_nothing_listens_to_other_machines() -> None:
    for service in content()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_scratch_has_one_path_on_the_host_and_in_the_workers() -> None:
    """The converter's container is started by the host's docker, which takes a mount's path for its own."""
    for name in ("worker-cpu", "worker-gpu"):
        service = content()["services"][name]
        (mount,) = [volume for volume in service["volumes"] if isinstance(volume, dict)]
        assert mount["source"].split(":")[0].rstrip("}") == mount["target"].rstrip("}")
        assert service["environment"]["TMPDIR"] == mount["target"]
        for kept in ("BEVFORMER_CACHE", "HF_HOME"):
            assert service["environment"][kept].rpartition("/")[0].split(":")[0].rstrip("}") == "${WORK_FOLDER"


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_worker_is_started_whole(pool: str) -> None:
    command = content()["services"][f"worker-{pool}"]["command"]
    assert command[:8] == ["prefect", "worker", "start", "--type", "process", "--pool", pool, "--limit"]


@pytest.mark.parametrize("password", ["plain", "p@ss/w:rd#%$"])
def test_the_databases_password_may_hold_any_character(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in content()["services"]["prefect-server"]["environment"].items():
        if name.startswith("PREFECT_SERVER_DATABASE_"):
            monkeypatch.setenv(name, password if "POSTGRES_PASSWORD" in value else value)
    url = make_url(Settings().server.database.connection_url.get_secret_value())
    assert url.render_as_string() == "postgresql+asyncpg://prefect:***@postgres:5432/prefect"
    assert url.password == password


def ask(method: str, url: str, body: object = None) -> dict:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return json.loads(response.read() or "null")


@pytest.mark.slow
def test_starting_again_leaves_limits_and_pauses_to_the_operator(prefect_server: LocalServer, tmp_path: Path) -> None:
    api_url = prefect_server.api_url
    (script,) = content()["services"]["pools"]["command"]
    script = script.replace("$$", "$").replace("/pools/", f"{tmp_path}/").replace("in cpu gpu edge", "in edge")
    template = json.loads((INFRA / "pools" / "process.json").read_text())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PREFECT_API_URL": api_url, "PREFECT_HOME": str(tmp_path / "client")}

    def start() -> dict:
        (tmp_path / "process.json").write_text(json.dumps(template))
        command = [*content()["services"]["pools"]["entrypoint"], script]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        return ask("GET", f"{api_url}/work_pools/edge")

    first = start()
    assert (first["type"], first["concurrency_limit"], first["is_paused"]) == ("process", 1, False)
    ask("PATCH", f"{api_url}/work_pools/edge", {"concurrency_limit": 10, "is_paused": True})
    template["variables"]["properties"]["env"]["default"]["NEW"] = "1"
    again = start()
    assert (again["concurrency_limit"], again["is_paused"]) == (10, True)
    assert again["base_job_template"] == template
