"""The checks of Prefect against a real server."""

from __future__ import annotations

import json
import urllib.request

import pytest

from bevformer_lib.doctor.finding import Status
from bevformer_lib.doctor.services import PrefectApi, check_prefect_server, check_work_pool
from flows.local_server import LocalServer


@pytest.fixture
def api(prefect_server: LocalServer) -> PrefectApi:
    return PrefectApi(prefect_server.api_url)


def post(api: PrefectApi, path: str, body: object) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{api.url}/{path}", json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request):  # noqa: S310
        pass


@pytest.mark.slow
def test_server_and_pool(api: PrefectApi) -> None:
    finding = check_prefect_server(api)
    assert finding.status is Status.OK, finding

    finding = check_work_pool(api, "made up/pool")
    assert finding.status is Status.FAIL and "does not exist" in finding.found
    post(api, "work_pools/", {"name": "cpu", "type": "process"})
    finding = check_work_pool(api, "cpu")
    assert finding.status is Status.WARN and finding.found == "no worker polls it"
    post(api, "work_pools/cpu/workers/heartbeat", {"name": "alpha"})
    finding = check_work_pool(api, "cpu")
    assert finding.status is Status.OK and finding.found == "polled by alpha"
