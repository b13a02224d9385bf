"""A little HTTP server for the checks of services."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Routes = Mapping[tuple[str, str], tuple[int, Any]]
"""(method, path) -> (status, JSON content)."""


@dataclass
class Served:
    url: str
    headers: list[Mapping[str, str]] = field(default_factory=list)


@contextmanager
def serving(routes: Routes) -> Iterator[Served]:
    """Serve these answers on a free port; anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            served.headers.append(dict(self.headers))
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            status, content = routes.get((self.command, self.path.partition("?")[0]), (404, {"detail": "nothing here"}))
            body = json.dumps(content).encode()
            self.send_response(status)
            if status in (301, 302, 307):
                self.send_header("Location", str(content))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_HEAD = _answer  # noqa: N815 (the names that http.server looks for)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
