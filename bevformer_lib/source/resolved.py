"""An input as it was found: exactly which files, by their content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bevformer_lib.errors import SourceError
from bevformer_lib.plain_data import from_plain
from bevformer_lib.strict_json import read_json

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_BLOB: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REPO: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_MOST_NAME_BYTES: Final = 255


@dataclass(frozen=True)
class SourceFile:
    """A file of a source.

    Attributes:
        path: below the source; the file's own name where the source is one file.
        size: bytes.
        blob: what the hub knows the content by: its sha256 for large files, git's sha1 of the blob for small ones;
            ``None`` for local files, whose content is known when they are read.
    """

    path: str
    size: int
    blob: str | None = None

    @property
    def sha256(self) -> str | None:
        """The content's sha256, where it is known before the file is read."""
        return self.blob if self.blob is not None and len(self.blob) == 64 else None


@dataclass(frozen=True)
class ResolvedSource:
    """A source, pinned: fetching it gives the same content at any time, or an error.

    What a hub or a mirror says becomes file names in the cache, so every name, commit and digest is checked here, and
    nowhere behind it.

    Attributes:
        kind: ``folder`` (also a single local file) or ``hub``.
        place: absolute local path, or path within the repository.
        is_folder: whether the source is a folder.
        files: what belongs to it, sorted by path.
        repo: ``owner/name`` on the hub.
        revision: what was asked for: branch, tag or commit.
        commit: what that was, 40 hex digits.

    Raises:
        SourceError: what is said to be on the hub has names, digests or sizes that no repository has.
    """

    kind: Literal["folder", "hub"]
    place: str
    is_folder: bool
    files: tuple[SourceFile, ...]
    repo: str | None = None
    revision: str | None = None
    commit: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "hub":
            try:
                _require_repository(self)
            except ValueError as error:
                raise SourceError(
                    f"hf://{str(self.repo)[:200]}: the hub's answer is refused: {error}; check address and HF_ENDPOINT"
                ) from None

    @property
    def uri(self) -> str:
        """The pinned address."""
        if self.kind == "folder":
            return Path(self.place).as_uri()
        return f"hf://{self.repo}@{self.commit}/{self.place}".rstrip("/")

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def _require_repository(source: ResolvedSource) -> None:
    """Raise a :class:`ValueError` unless a source is what a repository on the hub can hold."""
    for value, form, what in ((source.repo, _REPO, "repository"), (source.commit, _COMMIT, "commit")):
        if not isinstance(value, str) or not form.fullmatch(value):
            raise ValueError(f"{_shown(value)} is no {what}")
    if source.place:
        _require_name(source.place)
    names: set[str] = set()
    for file in source.files:
        _require_name(file.path)
        if not isinstance(file.blob, str) or not _BLOB.fullmatch(file.blob):
            raise ValueError(f"{_shown(file.path)} has {_shown(file.blob)} for a digest")
        if type(file.size) is not int or file.size < 0:
            raise ValueError(f"{_shown(file.path)} has {_shown(file.size)} bytes")
        if file.path in names:
            raise ValueError(f"{_shown(file.path)} is listed twice")
        names.add(file.path)


def _require_name(path: object) -> None:
    """Raise a :class:`ValueError` unless a path stays below the folder that it is joined to."""
    if (
        not isinstance(path, str)
        or not path.isprintable()
        or "\\" in path
        or any(part in ("", ".", "..") or len(part.encode()) > _MOST_NAME_BYTES for part in path.split("/"))
    ):
        raise ValueError(f"{_shown(path)} is no path within a repository")


def _shown(value: object) -> str:
    return ascii(value)[:200]


def read_resolved(path: Path) -> ResolvedSource | None:
    """Return what was noted about a source, or ``None`` if nothing was, or nothing that can be used."""
    try:
        return from_plain(ResolvedSource, read_json(path))
    except (OSError, ValueError, SourceError):
        return None
