"""A proxy in front of an HTTP server whose answers break off or arrive changed, as often as it is told."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class FaultyProxy:
    """What the proxy does.

    Attributes:
        url: where it listens.
        faults: how many of the next answers it spoils.
        spoil: body -> what is sent of it; a shorter one breaks the connection off.
        concerns: request path -> whether its answer may be spoilt.
        spoilt: how many it has spoilt.
    """

    url: str = ""
    faults: int = 0
    spoil: Callable[[bytes], bytes] = lambda body: body[: len(body) // 2]
    concerns: Callable[[str], bool] = lambda path: True
    spoilt: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def takes_fault(self, method: str, path: str, body: bytes) -> bool:
        """Return whether this answer is to be spoilt."""
        with self.lock:
            if method != "GET" or not body or not self.faults or not self.concerns(path):
                return False
            self.faults -= 1
            self.spoilt += 1
            return True


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[FaultyProxy]:
    """Run a proxy in front of a server until the block ends."""
    proxy = FaultyProxy()
    host = urlsplit(upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            connection = http.client.HTTPConnection(host, timeout=30)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            sent = proxy.spoil(content) if proxy.takes_fault(self.command, self.path, content) else content
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length or 0))
            self.end_headers()
            self.wfile.write(sent)
            self.wfile.flush()
            if len(sent) < len(content):
                self.close_connection = True
            connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward  # noqa: N815 - names of the base class

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
