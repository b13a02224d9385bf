from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from bevformer_lib.doctor import roles
from bevformer_lib.doctor.finding import ok
from bevformer_lib.doctor.roles import Role, Surroundings, checks_of
from bevformer_lib.doctor.services import DATABASE_VARIABLES
from tests.doctor.servers import serving
from tests.support.commands import bevformer

VARIABLES = ("PREFECT_API_URL", "HF_ENDPOINT", "HF_HUB_OFFLINE", *DATABASE_VARIABLES)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


def test_a_server_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(roles, "check_packages", lambda extras: ok("packages", "all"))
    with serving({("GET", "/api/admin/version"): (200, metadata.version("prefect"))}) as server:
        monkeypatch.setenv("PREFECT_API_URL", f"{server.url}/api")
        assert bevformer("doctor", "--role", "server") == 0
    table = capsys.readouterr().out
    assert "This machine as server" in table and "Prefect server" in table
    assert DATABASE_VARIABLES[0] in table


def test_what_has_to_be_fixed_is_named_and_ends_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("doctor", "--role", "server") == 1
    printed = capsys.readouterr()
    assert "export PREFECT_API_URL=" in printed.out
    assert "this machine is not ready as server: fix " in printed.err and "Prefect server" in printed.err


def test_a_role_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("doctor", "--role", "toaster") == 2


@pytest.mark.parametrize("role", [role.value for role in Role])
def test_a_store_that_is_named_is_checked_whatever_the_role(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("doctor", "--role", role, "--store", "ftp://x") == 1
    assert "store" in capsys.readouterr().err


def names(role: Role, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checks of a role, none of which is run."""
    called: list[str] = []
    for name in [name for name in vars(roles) if name.startswith("check_")]:
        monkeypatch.setattr(roles, name, lambda *_, name=name, **__: called.append(name))
    around = Surroundings.of_environment({}, folder=Path(), pool=None, store=None)
    for check in checks_of(role, around):
        check()
    return called


def test_every_role_has_its_own_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {role: set(names(role, monkeypatch)) for role in Role}
    assert {"check_docker", "check_pulsar2"} <= found[Role.CPU]
    assert "check_gpu" in found[Role.GPU] and "check_docker" not in found[Role.GPU]
    assert {"check_axengine", "check_hub"} <= found[Role.EDGE] and "check_onnxruntime" not in found[Role.EDGE]
    assert "check_database" in found[Role.SERVER] and "check_hub" not in found[Role.SERVER]
    assert "check_work_pool" not in found[Role.LAPTOP]


def test_what_the_environment_says() -> None:
    around = Surroundings.of_environment(
        {"PREFECT_API_URL": "http://server/api", "PREFECT_API_KEY": "k", "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": ""},
        folder=Path(),
        pool="mine",
        store=None,
    )
    assert (around.prefect.url, around.prefect.api_key, around.prefect.auth_string) == ("http://server/api", "k", None)
    assert around.hub_offline and around.hub_endpoint is None and around.pool == "mine"


@pytest.mark.parametrize("name", DATABASE_VARIABLES)
def test_the_database_has_an_old_and_a_new_name(name: str) -> None:
    around = Surroundings.of_environment({name: "postgresql://db"}, folder=Path(), pool=None, store=None)
    assert around.database == "postgresql://db"
