"""A stand-in for the HuggingFace hub: the part of its HTTP interface that reading a model repository needs.

As strict as the hub: every commit is immutable, small files are in git and served by the hub itself, large ones are
served by another host after a redirect, which must never see the token; private repositories are not told from missing
ones; errors carry `X-Error-Code`; listings come in pages. What the hub does not have is answered with 404 and kept in
:attr:`StandInHub.refused`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE_BYTES = 1000
"""Files above this are in large file storage; on the hub that is decided by suffix and at 10 MB."""
PAGE = 5
"""Entries of a listing's page; 1,000 on the hub."""
_CHUNK_BYTES = 1 << 16
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class Repo:
    """A model repository: commits by id, branches and tags by name."""

    token: str | None = None
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request that the stand-in was sent."""

    method: str
    path: str
    range: str | None
    host: str


@dataclass
class StandInHub:
    """The stand-in's content, what it was asked, and how it misbehaves."""

    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    endpoint: str = ""
    before_chunk: Callable[[str, int], bool] | None = None
    """Called with path and position before each chunk of a large file; may wait; ``False`` breaks the connection."""
    alter: Callable[[str, bytes], bytes] | None = None
    """What is sent instead of a large file's content."""
    lie: Callable[[Any], Any] | None = None
    """What is sent instead of an answer in JSON."""

    def commit(self, repo: str, files: Mapping[str, bytes], *, ref: str = "main", token: str | None = None) -> str:
        """Put files into a repository as a new commit and let a branch name it; return the commit."""
        found = self.repos.setdefault(repo, Repo(token=token))
        listed = "".join(f"{path} {git_sha1(content)}\n" for path, content in sorted(files.items()))
        commit = hashlib.sha1(f"{len(found.commits)}\n{listed}".encode()).hexdigest()  # noqa: S324 (as git does)
        found.commits[commit] = dict(files)
        found.refs[ref] = commit
        return commit

    def asked(self, text: str, method: str = "GET") -> list[Request]:
        """Return the requests of a method whose path holds ``text``."""
        return [request for request in self.requests if request.method == method and text in request.path]


def git_sha1(content: bytes) -> str:
    """Return the digest that git gives a blob."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()  # noqa: S324 (as git does)


@contextmanager
def running_hub() -> Iterator[StandInHub]:
    """Serve a stand-in until the block ends."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        host = self.headers.get("Host", "").partition(":")[0]
        self.hub.requests.append(Request(self.command, self.path, self.headers.get("Range"), host))
        try:
            self._route(host)
        except _RefusedError as error:
            body = json.dumps({"error": str(error)}).encode()
            headers = {"X-Error-Code": error.code, "X-Error-Message": str(error)} if error.code else {}
            self._send(error.status, {**headers, "Content-Type": "application/json"}, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, host: str) -> None:
        parts = urlsplit(self.path)
        segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
        query = parse_qs(parts.query)
        match segments:
            case ["cdn", repo_owner, repo_name, digest] if host == "localhost":
                self._serve_large(f"{repo_owner}/{repo_name}", digest)
            case ["api", "models", owner, name, "revision", revision] if self.command == "GET":
                repo, commit = self._commit(f"{owner}/{name}", revision)
                siblings = [{"rfilename": path} for path in sorted(repo.commits[commit])]
                self._send_json({"id": f"{owner}/{name}", "sha": commit, "private": False, "siblings": siblings})
            case ["api", "models", owner, name, "tree", revision, *path] if self.command == "GET":
                self._list(f"{owner}/{name}", revision, "/".join(path), query)
            case [owner, name, "resolve", revision, *path] if path:
                self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case _:
                self.hub.refused.append(f"{self.command} {self.path}")
                raise _RefusedError(404, "", "Not Found")

    def _commit(self, name: str, revision: str) -> tuple[Repo, str]:
        """Return the repository and the commit, if who asks may see it."""
        repo = self.hub.repos.get(name)
        given = self.headers.get("Authorization")
        if repo is None or (repo.token is not None and given != f"Bearer {repo.token}"):
            raise _RefusedError(404 if given else 401, "RepoNotFound", "Repository not found")
        if repo.gated and "/resolve/" in self.path:
            raise _RefusedError(403, "GatedRepo", f"Access to model {name} is restricted")
        commit = revision if revision in repo.commits else repo.refs.get(revision)
        if commit is None:
            raise _RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, commit

    def _list(self, name: str, revision: str, folder: str, query: dict[str, list[str]]) -> None:
        repo, commit = self._commit(name, revision)
        prefix = f"{folder}/" if folder else ""
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        entries: dict[str, dict[str, Any]] = {}
        for path, content in repo.commits[commit].items():
            if not path.startswith(prefix):
                continue
            below = path.removeprefix(prefix).split("/")
            for depth in range(1, len(below) if recursive else min(2, len(below))):
                parent = prefix + "/".join(below[:depth])
                entries[parent] = {"type": "directory", "path": parent, "size": 0, "oid": git_sha1(parent.encode())}
            if recursive or len(below) == 1:
                entries[path] = _file_entry(path, content)
        if not entries:
            raise _RefusedError(404, "EntryNotFound", f"{folder} does not exist on {revision}")
        start = int(query.get("cursor", ["0"])[0])
        page = [entries[path] for path in sorted(entries)][start : start + PAGE]
        headers = {}
        if start + PAGE < len(entries):
            own = urlsplit(self.path).path
            flag = f"recursive={'true' if recursive else 'false'}"
            headers["Link"] = f'<{self.hub.endpoint}{own}?{flag}&cursor={start + PAGE}>; rel="next"'
        self._send_json(page, headers)

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo, commit = self._commit(name, revision)
        content = repo.commits[commit].get(path)
        if content is None:
            raise _RefusedError(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if len(content) <= LARGE_BYTES:
            self._send_range(content, {**headers, "ETag": f'"{git_sha1(content)}"'})
            return
        digest = hashlib.sha256(content).hexdigest()
        port = self.hub.endpoint.rpartition(":")[2]
        location = f"http://localhost:{port}/cdn/{name}/{digest}"
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content)), "Location": location}
        self._send(302, headers | linked, b"")

    def _serve_large(self, name: str, digest: str) -> None:
        if self.headers.get("Authorization"):
            self.hub.refused.append(f"token sent to {self.path}")
            raise _RefusedError(400, "", "Only one auth mechanism allowed")
        for commit in self.hub.repos[name].commits.values():
            for path, content in commit.items():
                if hashlib.sha256(content).hexdigest() == digest:
                    sent = content if self.hub.alter is None else self.hub.alter(path, content)
                    self._send_range(sent, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}, path)
                    return
        raise _RefusedError(403, "", "Access denied")

    def _send_range(self, content: bytes, headers: dict[str, str], path: str | None = None) -> None:
        given = self.headers.get("Range")
        match = _RANGE.fullmatch(given) if given else None
        if match is None:
            self._send(200, headers, content, path)
            return
        start, end = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
        if start >= len(content):
            self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self._send(206, headers, content[start : end + 1], path, start)

    def _send_json(self, content: Any, headers: Mapping[str, str] | None = None) -> None:
        told = content if self.hub.lie is None else self.hub.lie(content)
        self._send(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(told).encode())

    def _send(
        self, status: int, headers: Mapping[str, str], body: bytes, path: str | None = None, start: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for position in range(0, len(body), _CHUNK_BYTES):
            wanted = self.hub.before_chunk
            if path is not None and wanted is not None and not wanted(path, start + position):
                self.close_connection = True
                return
            self.wfile.write(body[position : position + _CHUNK_BYTES])


def _file_entry(path: str, content: bytes) -> dict[str, Any]:
    if len(content) <= LARGE_BYTES:
        return {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": len(pointer)}
    return {"type": "file", "path": path, "size": len(content), "oid": git_sha1(pointer), "lfs": lfs}


def _handler(hub: StandInHub) -> type[_Handler]:
    return type("Handler", (_Handler,), {"hub": hub})


def hang_at(position: int, reached: threading.Event) -> Callable[[str, int], bool]:
    """Return a misbehaviour: sending stops at a position for a minute."""

    def wait(path: str, at: int) -> bool:
        if at >= position:
            reached.set()
            time.sleep(60)
        return True

    return wait
