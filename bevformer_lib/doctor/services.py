"""Checks of what is elsewhere: Prefect's server and pool, the store, the hub."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from importlib import metadata
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit

from bevformer_lib.doctor.finding import Finding, fail, ok, warn
from bevformer_lib.doctor.machine import DISTRIBUTION
from bevformer_lib.errors import StoreError

HUB: Final = "https://huggingface.co"
HUB_REPOSITORY: Final = "AXERA-TECH/bevformer"
DATABASE_VARIABLES: Final = (
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_DRIVER",
)
"""Where Prefect reads its server's database from: an address, an older name for it, and what an address begins with."""
_SECONDS: Final = 10.0
_UNAUTHORIZED: Final = (401, 403)
_NOT_FOUND: Final = 404
_SERVER: Final = "Prefect server"
_SET_URL: Final = "export PREFECT_API_URL=http://SERVER:4200/api"


@dataclass(frozen=True)
class PrefectApi:
    """Where Prefect's server is.

    Attributes:
        url: its API, ending in ``/api``; ``None``: not configured.
        auth_string: ``user:password`` of a server with basic authentication; never shown.
        api_key: of Prefect Cloud; never shown.
    """

    url: str | None
    auth_string: str | None = None
    api_key: str | None = None

    def request(self, path: str, body: object = None) -> Any:
        """Return the JSON answer of the API.

        Raises:
            OSError: the server can't be reached, or refuses (``urllib.error.HTTPError``).
            ValueError: the answer is not JSON, or the address is none.
        """
        headers = {"Content-Type": "application/json"}
        if self.auth_string:
            headers["Authorization"] = "Basic " + base64.b64encode(self.auth_string.encode()).decode()
        elif self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        data = None if body is None else json.dumps(body).encode()
        return json.loads(_open(f"{(self.url or '').rstrip('/')}/{path}", headers, data))


def check_prefect_server(api: PrefectApi, *, required: bool = True) -> Finding:
    """Check that the server answers and is of the installed Prefect's version."""
    if not api.url:
        found = "PREFECT_API_URL is not set"
        if required:
            return fail(_SERVER, found, _SET_URL)
        return ok(_SERVER, f"{found}: builds run in process, with a server of their own")
    if problem := _address_problem(api.url):
        return fail(_SERVER, f"PREFECT_API_URL {problem}", _SET_URL)
    try:
        server = str(api.request("admin/version"))
    except urllib.error.HTTPError as error:
        return _refused(api.url, error)
    except (OSError, ValueError) as error:
        fix = "start it (prefect server start --host 0.0.0.0, or infra/compose.yaml), or correct PREFECT_API_URL"
        return fail(_SERVER, f"{api.url} does not answer ({_reason(error)})", fix)
    client = metadata.version("prefect")
    if server.split(".")[:2] != client.split(".")[:2]:
        fix = f"run the same version on both: pip install 'prefect=={client}' on the server"
        return fail(_SERVER, f"{api.url} is Prefect {server}, this machine has {client}", fix)
    return ok(_SERVER, f"{api.url}, Prefect {server}")


def check_database(url: str | None) -> Finding:
    """Check that a server's database is one for many workers."""
    kind = urlsplit(url if "://" in url else f"{url}://").scheme if url else "sqlite"
    if kind.startswith("postgresql"):
        return ok("database", "PostgreSQL")
    fix = f"set {DATABASE_VARIABLES[0]}=postgresql+asyncpg://USER:PASSWORD@HOST/prefect (infra/compose.yaml)"
    return warn("database", f"{kind}: locks under many workers", fix)


def check_work_pool(api: PrefectApi, pool: str) -> Finding:
    """Check that the role's work pool is there, not paused, and polled by a worker."""
    check = f"work pool '{pool}'"
    if not api.url or _address_problem(api.url):
        return warn(check, "not checked: no Prefect server", _SET_URL)
    try:
        found = api.request(f"work_pools/{quote(pool, safe='')}")
        workers = api.request(f"work_pools/{quote(pool, safe='')}/workers/filter", {})
        online = [worker["name"] for worker in workers if worker["status"] == "ONLINE"]
        paused = bool(found["is_paused"])
    except urllib.error.HTTPError as error:
        if error.code == _NOT_FOUND:
            return fail(check, "does not exist", f"prefect work-pool create {pool} --type process")
        return warn(check, f"not checked: the server answers {error.code}", "see the server's check")
    except (OSError, ValueError, LookupError, TypeError) as error:
        return warn(check, f"not checked: {_reason(error)}", "see the server's check")
    if paused:
        return fail(check, "is paused", f"prefect work-pool resume {pool}")
    if not online:
        return warn(check, "no worker polls it", f"prefect worker start --pool {pool}")
    return ok(check, f"polled by {', '.join(sorted(online))}")


def check_store(address: str | None) -> Finding:
    """Check that the store's bucket can be reached and written, and that one of several writers wins.

    A probe is written and deleted again; a folder needs no check.
    """
    if address is None:
        return warn("store", "not checked: none named", "name it: bevformer doctor --store s3://BUCKET/PREFIX")
    scheme, separator, _ = address.partition("://")
    if not separator or scheme == "file":
        return ok("store", f"the folder {address}")
    from bevformer_lib.store.open import open_store

    try:
        store = open_store(address)
        store.check_conditional_writes()
    except StoreError as error:
        found, _, fix = str(error).partition("; ")
        return fail("store", found, fix or "see docs/store.md")
    return ok("store", f"{store.uri}: reachable, writable, conditional writes are kept")


def check_hub(endpoint: str | None, *, offline: bool, required: bool) -> Finding:
    """Check that the hub, or its mirror, answers and shows the published repository to this machine.

    It is asked with the token that huggingface_hub would send: ``HF_TOKEN``, or the saved login.
    """
    if offline:
        return ok("hub", "offline mode: only what the cache holds")
    url = (endpoint or HUB).rstrip("/")
    report = fail if required else warn
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if problem := _address_problem(url):
        return fail("hub", f"HF_ENDPOINT {problem}", f"export HF_ENDPOINT={HUB}, or a mirror's address")
    headers = build_hf_headers(library_name=DISTRIBUTION)
    try:
        _open(f"{url}/api/models/{HUB_REPOSITORY}", headers, None)
    except urllib.error.HTTPError as error:
        found = f"{url} answers {error.code} for {HUB_REPOSITORY}"
        if error.code not in (*_UNAUTHORIZED, _NOT_FOUND):
            return warn("hub", found, "try again later, or set HF_ENDPOINT to a mirror")
        asked, verb = (
            ("with this machine's token", "correct") if "authorization" in headers else ("without a token", "set")
        )
        fix = f"{verb} HF_TOKEN, to one of an account that sees it, or name your own repository in --checkpoint"
        return warn("hub", f"{found}, asked {asked}", fix)
    except (OSError, ValueError) as error:
        fix = "check network and proxy, set HF_ENDPOINT to a mirror, or work offline: export HF_HUB_OFFLINE=1"
        return report("hub", f"{url} does not answer ({_reason(error)})", fix)
    return ok("hub", f"{url}, {HUB_REPOSITORY} is there")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the credentials to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _open(url: str, headers: dict[str, str], data: bytes | None) -> bytes:
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 (the scheme was checked)
    with urllib.request.build_opener(_NoRedirect).open(request, timeout=_SECONDS) as response:
        content: bytes = response.read()
    return content


def _refused(url: str, error: urllib.error.HTTPError) -> Finding:
    if error.code in _UNAUTHORIZED:
        fix = "set PREFECT_API_AUTH_STRING (or PREFECT_API_KEY for Prefect Cloud)"
        return fail(_SERVER, f"{url} refuses these credentials ({error.code})", fix)
    return fail(_SERVER, f"{url} answers {error.code}", "correct PREFECT_API_URL; it ends in /api")


def _address_problem(url: str) -> str | None:
    """Return what is wrong with an address, without repeating credentials that it may hold."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no http:// or https:// address"
    if "@" in parts.netloc:
        return "holds credentials; they belong into variables of their own"
    return None


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error) or type(error).__name__
