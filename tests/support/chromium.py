"""Headless Chromium over its DevTools protocol: what a page does, measured in a real browser."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
START_SECONDS = 60.0

requires_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install --no-install-recommends chromium"
)


class Page:
    """A tab, driven over the protocol; collects the addresses that it asks for."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        for domain in ("Page", "Network", "Runtime"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method and return its result; events that come meanwhile are kept."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=START_SECONDS))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._events.append(message)

    def open(self, path: Path, *, width: int, scheme: Literal["light", "dark"], height: int = 900) -> None:
        """Load a file as a device of this width with this colour scheme shows it."""
        self.visit(path.as_uri(), width=width, scheme=scheme, height=height)

    def visit(self, address: str, *, width: int, scheme: Literal["light", "dark"], height: int = 900) -> None:
        """Load a page as a device of this width with this colour scheme shows it."""
        self._events.clear()
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(json.loads(self._connection.recv(timeout=START_SECONDS)))

    def requested(self) -> list[str]:
        """Return the addresses that the page asked for, without what it carries itself."""
        sent = [event for event in self._events if event["method"] == "Network.requestWillBeSent"]
        return [url for event in sent if not (url := event["params"]["request"]["url"]).startswith("data:")]

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, as JSON brings it over."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, output: Path) -> None:
        """Write a PNG of the whole page."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        output.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """Print the page."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])


@contextmanager
def open_chromium(profile: Path) -> Iterator[Page]:
    """Give a tab of a Chromium that has no network and a profile of its own.

    Args:
        profile: an empty folder.
    """
    assert CHROMIUM is not None
    arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    process = subprocess.Popen(
        [CHROMIUM, *arguments, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_page_address(profile / "DevToolsActivePort", process), max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def _page_address(port_file: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until the browser listens, and return the WebSocket address of a new tab."""
    deadline = time.monotonic() + START_SECONDS
    while not port_file.is_file() or len(port_file.read_text().splitlines()) < 2:
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        assert time.monotonic() < deadline, "Chromium doesn't listen"
        time.sleep(0.05)
    port, browser = port_file.read_text().splitlines()[:2]
    with connect(f"ws://127.0.0.1:{port}{browser}") as connection:
        connection.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
        while "result" not in (message := json.loads(connection.recv(timeout=START_SECONDS))):
            pass
    return f"ws://127.0.0.1:{port}/devtools/page/{message['result']['targetId']}"
