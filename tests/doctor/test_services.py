from __future__ import annotations

import socket
from importlib import metadata
from pathlib import Path

import pytest

from bevformer_lib.doctor.finding import Finding, Status
from bevformer_lib.doctor.services import (
    HUB_REPOSITORY,
    PrefectApi,
    check_database,
    check_hub,
    check_prefect_server,
    check_store,
    check_work_pool,
)
from tests.doctor.servers import serving

INSTALLED = metadata.version("prefect")
POOL = {"name": "cpu", "is_paused": False}
WORKERS = [{"name": "alpha", "status": "ONLINE"}, {"name": "beta", "status": "OFFLINE"}]
SECRET = "Tr0ub4dor"


def closed_port_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def pool_routes(pool: object = None, workers: object = None, pool_status: int = 200) -> dict:
    return {
        ("GET", "/api/work_pools/cpu"): (pool_status, POOL if pool is None else pool),
        ("POST", "/api/work_pools/cpu/workers/filter"): (200, WORKERS if workers is None else workers),
    }


def test_a_server_of_the_same_version() -> None:
    with serving({("GET", "/api/admin/version"): (200, INSTALLED)}) as server:
        finding = check_prefect_server(PrefectApi(f"{server.url}/api/"))
    assert finding.status is Status.OK and INSTALLED in finding.found


def test_a_server_of_another_version() -> None:
    with serving({("GET", "/api/admin/version"): (200, "2.20.1")}) as server:
        finding = check_prefect_server(PrefectApi(f"{server.url}/api"))
    assert finding.status is Status.FAIL
    assert "Prefect 2.20.1" in finding.found and f"prefect=={INSTALLED}" in finding.fix


@pytest.mark.parametrize(
    ("status", "fix"), [(401, "PREFECT_API_AUTH_STRING"), (403, "PREFECT_API_AUTH_STRING"), (404, "ends in /api")]
)
def test_a_server_that_refuses(status: int, fix: str) -> None:
    with serving({("GET", "/api/admin/version"): (status, {})}) as server:
        finding = check_prefect_server(PrefectApi(f"{server.url}/api", auth_string=f"admin:{SECRET}"))
    assert finding.status is Status.FAIL and fix in finding.fix
    assert SECRET not in str(finding)


def test_credentials_are_sent_but_do_not_follow_a_redirect() -> None:
    with serving({("GET", "/api/admin/version"): (200, INSTALLED)}) as elsewhere:
        moved = {("GET", "/api/admin/version"): (302, f"{elsewhere.url}/api/admin/version")}
        with serving(moved) as server:
            finding = check_prefect_server(PrefectApi(f"{server.url}/api", api_key=SECRET))
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert elsewhere.headers == []
    assert finding.status is Status.FAIL


def test_no_server() -> None:
    gone = PrefectApi(f"{closed_port_url()}/api")
    finding = check_prefect_server(gone)
    assert finding.status is Status.FAIL and "does not answer" in finding.found
    assert check_work_pool(gone, "cpu").status is Status.WARN
    nothing = PrefectApi(None)
    assert check_prefect_server(nothing).status is Status.FAIL
    assert check_prefect_server(nothing, required=False).status is Status.OK
    assert check_work_pool(nothing, "cpu").status is Status.WARN


def test_a_server_that_talks_no_json() -> None:
    with serving({}) as server:
        finding = check_prefect_server(PrefectApi(server.url))
    assert finding.status is Status.FAIL


@pytest.mark.parametrize("url", ["server:4200/api", "file:///etc/passwd", "http://", f"http://me:{SECRET}@server/api"])
def test_an_address_that_is_none(url: str) -> None:
    finding = check_prefect_server(PrefectApi(url))
    assert finding.status is Status.FAIL and "PREFECT_API_URL" in finding.found
    assert SECRET not in str(finding)


@pytest.mark.parametrize(
    ("routes", "status", "said"),
    [
        (pool_routes(), Status.OK, "polled by alpha"),
        (pool_routes(workers=WORKERS[1:]), Status.WARN, "prefect worker start --pool cpu"),
        (pool_routes(pool={**POOL, "is_paused": True}), Status.FAIL, "prefect work-pool resume cpu"),
        (pool_routes(pool_status=404), Status.FAIL, "prefect work-pool create cpu"),
        (pool_routes(pool_status=500), Status.WARN, "not checked"),
        (pool_routes(pool={"name": "cpu"}), Status.WARN, "not checked"),
    ],
)
def test_a_work_pool(routes: dict, status: Status, said: str) -> None:
    with serving(routes) as server:
        finding = check_work_pool(PrefectApi(f"{server.url}/api"), "cpu")
    assert finding.status is status
    assert said in f"{finding.found} {finding.fix}"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("postgresql+asyncpg", Status.OK),
        ("sqlite+aiosqlite", Status.WARN),
        ("postgresql+asyncpg://prefect:pw@db/prefect", Status.OK),
        ("sqlite+aiosqlite:////root/.prefect/prefect.db", Status.WARN),
        (None, Status.WARN),
    ],
)
def test_a_database(url: str | None, status: Status) -> None:
    finding = check_database(url)
    assert finding.status is status
    assert "pw@" not in str(finding)


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return monkeypatch


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [(404, Status.FAIL, "bucket"), (403, Status.FAIL, "credentials")],
)
def test_a_bucket(s3_environment: pytest.MonkeyPatch, answer: int, status: Status, said: str) -> None:
    pytest.importorskip("boto3")
    with serving({("GET", "/bucket"): (answer, {})}) as server:
        s3_environment.setenv("AWS_ENDPOINT_URL_S3", server.url)
        finding = check_store("s3://bucket/prefix")
    assert finding.status is status
    assert said in f"{finding.found} {finding.fix}"
    assert SECRET not in str(finding)


def test_a_bucket_without_credentials(s3_environment: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    s3_environment.delenv("AWS_ACCESS_KEY_ID")
    s3_environment.delenv("AWS_SECRET_ACCESS_KEY")
    s3_environment.setenv("AWS_ENDPOINT_URL_S3", closed_port_url())
    finding = check_store("s3://bucket")
    assert finding.status is Status.FAIL and "no credentials" in finding.found


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (None, Status.WARN),
        ("./store", Status.OK),
        ("ftp://server/x", Status.FAIL),
        (f"s3://me:{SECRET}@bucket", Status.FAIL),
    ],
)
def test_an_address_of_a_store(address: str | None, status: Status) -> None:
    finding = check_store(address)
    assert finding.status is status
    assert SECRET not in str(finding)


@pytest.fixture(autouse=True)
def no_hub_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))


def hub(url: str, **changes: bool) -> Finding:
    return check_hub(url, **{"offline": False, "required": True, **changes})


def test_the_hub() -> None:
    path = f"/api/models/{HUB_REPOSITORY}"
    with serving({("GET", path): (200, {"id": HUB_REPOSITORY})}) as mirror:
        assert hub(f"{mirror.url}/").status is Status.OK
    gone = closed_port_url()
    assert hub(gone).status is Status.FAIL
    assert hub(gone, required=False).status is Status.WARN
    assert hub(gone, offline=True).status is Status.OK
    assert hub("mirror").status is Status.FAIL


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_repository_that_the_hub_hides(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({("GET", f"/api/models/{HUB_REPOSITORY}"): (status, {})}) as mirror:
        without = hub(mirror.url)
        monkeypatch.setenv("HF_TOKEN", SECRET)
        refused = hub(mirror.url)
    assert without.status is refused.status is Status.WARN
    assert "without a token" in without.found and without.fix.startswith("set HF_TOKEN")
    assert "with this machine's token" in refused.found and refused.fix.startswith("correct HF_TOKEN")
    assert SECRET not in str(refused)


@pytest.mark.parametrize("saved", [False, True])
def test_the_hubs_token_is_sent_but_does_not_follow_a_redirect(
    saved: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if saved:
        (tmp_path / "token").write_text(f"{SECRET}\n")
    else:
        monkeypatch.setenv("HF_TOKEN", SECRET)
    path = f"/api/models/{HUB_REPOSITORY}"
    with serving({("GET", path): (200, {})}) as elsewhere:
        assert hub(elsewhere.url).status is Status.OK
        with serving({("GET", path): (302, f"{elsewhere.url}{path}")}) as mirror:
            finding = hub(mirror.url)
    (headers,) = elsewhere.headers
    assert {name.lower(): value for name, value in headers.items()}["authorization"] == f"Bearer {SECRET}"
    assert finding.status is Status.WARN and "302" in finding.found


def test_a_hub_in_trouble() -> None:
    with serving({("GET", f"/api/models/{HUB_REPOSITORY}"): (503, {})}) as mirror:
        finding = hub(mirror.url)
    assert finding.status is Status.WARN and "HF_TOKEN" not in finding.fix


def test_the_token_in_an_address_is_not_shown() -> None:
    finding = hub(f"https://me:{SECRET}@mirror")
    assert finding.status is Status.FAIL and SECRET not in str(finding)
