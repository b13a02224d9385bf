"""OpenStack Swift with its S3 interface in one process: proxy, account, container and object server, one disk.

Swift compares `If-None-Match: *` when a request begins and commits when it ends, so that racing writers can all win.
S3 promises that exactly one does (AWS and SeaweedFS keep it); here a lock per object around Swift's own handler keeps
that promise. ``--racy`` leaves Swift as it is, and has it take its time in between, so that writers do race.

Run as ``python s3_server_process.py FOLDER ACCESS_KEY SECRET_KEY [--racy]``; prints the endpoint's URL when it is
ready, and ends with SIGTERM or when its standard input closes, so that it never outlives who started it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eventlet
import eventlet.wsgi
from eventlet.patcher import original
from eventlet.semaphore import Semaphore

_RACE_SECONDS = 0.3

_POLICY_AND_HASH = """
[swift-hash]
swift_hash_path_suffix = suffix
swift_hash_path_prefix = prefix

[storage-policy:0]
name = only
default = yes
"""
_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
swift_dir = {folder}

[pipeline:main]
pipeline = catch_errors gatekeeper s3api tempauth bulk slo proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:s3api]
use = egg:swift#s3api
max_upload_part_num = 10000

[filter:bulk]
use = egg:swift#bulk

[filter:slo]
use = egg:swift#slo

[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
"""
_BACKEND = """
[DEFAULT]
bind_ip = 127.0.0.1
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0

[pipeline:main]
pipeline = {name}-server

[app:{name}-server]
use = egg:swift#{name}
"""


class OneWriterAtATime:
    """Passes writes of the same object on one after the other."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._locks: defaultdict[str, Semaphore] = defaultdict(Semaphore)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] != "PUT":
            return self._app(environ, start_response)
        with self._locks[environ["PATH_INFO"]]:
            return self._app(environ, start_response)


class TakingItsTime:
    """Waits between the comparison, when a request begins, and the commit."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT":
            environ["wsgi.input"] = _SlowBody(environ["wsgi.input"])
        return self._app(environ, start_response)


class _SlowBody:
    def __init__(self, body: Any) -> None:
        self._body = body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    def read(self, *arguments: int) -> bytes:
        eventlet.sleep(_RACE_SECONDS)
        content: bytes = self._body.read(*arguments)
        return content


def serve(folder: Path, access_key: str, secret_key: str, *, racy: bool) -> None:
    """Serve until the process is ended."""
    from swift.common import storage_policy, utils

    (folder / "devices" / "disk").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(_POLICY_AND_HASH)
    utils.set_swift_dir(str(folder))
    utils.validate_hash_conf()
    storage_policy.reload_storage_policies()

    sockets = {name: eventlet.listen(("127.0.0.1", 0)) for name in ("account", "container", "object", "proxy")}
    for name in ("account", "container", "object"):
        _write_ring(folder / f"{name}.ring.gz", sockets[name].getsockname()[1])
        (folder / f"{name}.conf").write_text(_BACKEND.format(folder=folder, name=name))
    account, _, user = access_key.partition(":")
    (folder / "proxy.conf").write_text(_PROXY.format(folder=folder, account=account, user=user, secret=secret_key))
    wrap = TakingItsTime if racy else OneWriterAtATime
    for name, socket in sockets.items():
        eventlet.spawn(_serve_one, folder / f"{name}.conf", socket, wrap=wrap if name == "object" else None)
    eventlet.sleep(0)
    sys.stdout.write(f"http://127.0.0.1:{sockets['proxy'].getsockname()[1]}\n")
    sys.stdout.flush()


def _serve_one(conf: Path, socket: object, *, wrap: Callable[[Any], Any] | None) -> None:
    from swift.common import wsgi
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.utils import NullLogger

    app = wsgi.loadapp(str(conf))
    eventlet.wsgi.server(
        socket,
        app if wrap is None else wrap(app),
        NullLogger(),
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,  # the AWS clients want ETag, not Etag
        debug=False,
    )


def _write_ring(path: Path, port: int) -> None:
    from swift.common.ring import RingBuilder

    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1})
    builder.rebalance()
    builder.get_ring().save(str(path))


def _end_with_parent() -> None:
    """End the process when standard input closes; in a thread of the system, since reading blocks."""

    def wait() -> None:
        original("os").read(0, 1)
        original("os")._exit(0)

    original("threading").Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    eventlet.monkey_patch()
    os.fsync = os.fdatasync = lambda descriptor: None  # its disk is as short-lived as itself
    _end_with_parent()
    serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3], racy="--racy" in sys.argv[4:])
    threading.Event().wait()
