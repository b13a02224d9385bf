"""Addresses of inputs: a path, ``file:///path``, or ``hf://owner/repo[@revision]/path``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from bevformer_lib.errors import SourceError

DEFAULT_REPO: Final = "AXERA-TECH/bevformer"
DEFAULT_REVISION: Final = "main"
_HUB: Final = "hf://"
_FORM: Final = "write hf://owner/repo[@revision]/path, or hf:///path for the default repository"


@dataclass(frozen=True)
class HubAddress:
    """A file or a folder in a model repository of the hub.

    Attributes:
        repo: ``owner/name``.
        revision: branch, tag or commit.
        path: within the repository, without slashes at the ends; ``""`` for all of it.
    """

    repo: str
    revision: str
    path: str

    @property
    def uri(self) -> str:
        """The address as text; the same for every way to write it."""
        return f"{_HUB}{self.repo}@{quote(self.revision, safe='')}/{self.path}".rstrip("/")

    def at(self, commit: str) -> HubAddress:
        """Return the same place at another revision."""
        return HubAddress(self.repo, commit, self.path)


def is_hub(address: str | Path) -> bool:
    """Return whether an address names something on the hub."""
    return str(address).startswith(_HUB)


def parse_hub(address: str) -> HubAddress:
    """Return the parts of an address on the hub.

    A revision with slashes is percent-encoded (``refs%2Fpr%2F1``). ``hf:///path`` and ``hf://@revision/path`` name the
    default repository.

    Raises:
        SourceError: it has another form.
    """
    if not address.isprintable():  # lone surrogates are not either
        raise SourceError(f"{ascii(address)[:200]}: holds characters that no address has; {_FORM}")
    rest = address.removeprefix(_HUB)
    if rest.startswith(("/", "@")):
        head, _, path = rest.partition("/")
        repo, revision = DEFAULT_REPO, head.removeprefix("@")
        marked = head.startswith("@")
    else:
        owner, _, rest = rest.partition("/")
        head, _, path = rest.partition("/")
        name, mark, revision = head.partition("@")
        repo, marked = f"{owner}/{name}", bool(mark)
        if not owner or not name or ":" in owner or "@" in owner:
            raise SourceError(f"hf://{owner.rpartition('@')[2]}/...: names no repository; {_FORM}")
    if marked and not revision:
        raise SourceError(f"{address}: names no revision after the @; {_FORM}")
    path = path.strip("/")
    if ".." in path.split("/"):
        raise SourceError(f"{address}: leaves the repository; {_FORM}")
    return HubAddress(repo, unquote(revision) or DEFAULT_REVISION, path)


def parse_local(address: str | Path) -> Path:
    """Return the absolute path that an address names.

    Raises:
        SourceError: it is an address of something else.
    """
    text = str(address)
    scheme, mark, _ = text.partition("://")
    if not mark:
        return Path(text).expanduser().absolute()
    parts = urlsplit(text)
    if scheme != "file":
        raise SourceError(f"{scheme}://...: not a place for inputs; give a path, file:///path or hf://owner/repo/path")
    if parts.netloc not in ("", "localhost"):
        raise SourceError(f"{text}: names another machine; write three slashes: file:///path")
    return Path(unquote(parts.path))
