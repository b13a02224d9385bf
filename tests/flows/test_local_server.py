"""The build's own server, where the user's network, Prefect and paths are unusual."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bevformer_lib.errors import BevformerError
from flows import local_server
from flows.local_server import LocalServer

REFUSING = """
import http.server, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[2], "a").write("asked\\n")
        self.send_error(503)
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[1]))
server.serve_forever()
"""


@pytest.mark.slow
def test_users_settings_and_odd_paths_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql+asyncpg://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("PREFECT_PROFILE", "a profile that is not there")
    monkeypatch.chdir(tmp_path)
    Path("prefect.toml").write_text('[server.api]\nauth_string = "user:password"\n')
    store = tmp_path / "run?7 #1 100%25"
    server = LocalServer(Path(store.name, "prefect"), store / "log")
    try:
        server.wait_until_ready()
        assert (store / "prefect" / "prefect.db").is_file()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["prefect.toml", store.name]
    finally:
        server.stop()


def test_one_that_ends_is_noticed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    server = LocalServer(tmp_path / "prefect", tmp_path / "log")
    with pytest.raises(BevformerError, match=r"log: .* did not start \(it ended with status 1\)"):
        server.wait_until_ready()


def test_waiting_has_pauses_and_ends_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    asked.touch()

    def spawn(_: LocalServer, listener: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", REFUSING, str(listener), str(asked)]
        return subprocess.Popen(command, pass_fds=(listener,))

    monkeypatch.setattr(LocalServer, "_spawn", spawn)
    monkeypatch.setattr(local_server, "_START_SECONDS", 3.0)
    server = LocalServer(tmp_path / "prefect", tmp_path / "log")
    with pytest.raises(BevformerError, match=r"did not start \(HTTP Error 503"):
        server.wait_until_ready()
    assert len(asked.read_text().splitlines()) < 10
