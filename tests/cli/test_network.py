"""A company's proxy is not asked for servers on this machine."""

from __future__ import annotations

import urllib.request

import httpx
import pytest

from bevformer_lib.cli.network import keep_loopback_off_proxies


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, "localhost,127.0.0.1,::1"),
        ({"no_proxy": "intranet, localhost"}, "intranet,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": ".corp"}, ".corp,localhost,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_loopback_is_added_to_what_the_user_named(given: dict[str, str], kept: str) -> None:
    environment = dict(given)
    keep_loopback_off_proxies(environment)
    assert environment["no_proxy"] == kept


def test_clients_heed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"http_proxy": "http://proxy:3128"}
    keep_loopback_off_proxies(environment)
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for host in ("127.0.0.1", "localhost"):
        assert urllib.request.proxy_bypass(host)
    assert not urllib.request.proxy_bypass("example.org")
    with httpx.Client() as client:
        assert client._transport_for_url(httpx.URL("http://127.0.0.1:4200")) is client._transport
        assert client._transport_for_url(httpx.URL("http://example.org")) is not client._transport
