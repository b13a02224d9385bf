"""What the cache that all the hub's clients share says: which commit a revision is, and the files that lie there.

A cache that another program filled, or that came from another machine with its ``HF_HOME``, is as good as one that was
filled here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from bevformer_lib.files import atomic_path, sha256_of_file
from bevformer_lib.source.address import HubAddress
from bevformer_lib.source.hub_access import HubAccess
from bevformer_lib.source.resolved import ResolvedSource, SourceFile

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_BLOB: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def repository_folder(repo: str, access: HubAccess) -> Path:
    """Return a repository's folder in the shared cache."""
    return access.cache_folder / f"models--{repo.replace('/', '--')}"


def find_in_cache(address: HubAddress, access: HubAccess) -> ResolvedSource | None:
    """Return what an address names according to the shared cache; ``None`` if it doesn't hold all of that.

    Raises:
        SourceError: names in the cache are such as no repository has.
    """
    folder = repository_folder(address.repo, access)
    commit = address.revision if _COMMIT.fullmatch(address.revision) else _commit_of(folder, address.revision)
    if commit is None:
        return None
    snapshot = folder / "snapshots" / commit
    root = snapshot / address.path
    if root.is_file():
        paths, below = [root], root.parent
    else:
        paths = sorted(Path(parent, name) for parent, _, names in os.walk(root) for name in names)
        below = root
    if not paths or not all(path.is_file() for path in paths):
        return None
    files = [SourceFile(str(path.relative_to(below)), path.stat().st_size, _blob_of(path)) for path in paths]
    return ResolvedSource(
        kind="hub",
        place=address.path,
        is_folder=not root.is_file(),
        files=tuple(sorted(files, key=lambda file: file.path)),
        repo=address.repo,
        revision=address.revision,
        commit=commit,
    )


def note_revision(source: ResolvedSource, access: HubAccess) -> None:
    """Tell the shared cache which commit a revision was, as its other users do."""
    assert source.repo is not None and source.revision is not None and source.commit is not None  # noqa: S101 (types)
    if source.revision != source.commit and _is_name(source.revision):
        with atomic_path(repository_folder(source.repo, access) / "refs" / source.revision) as temporary:
            temporary.write_text(source.commit, encoding="ascii")


def _commit_of(folder: Path, revision: str) -> str | None:
    if not _is_name(revision):
        return None
    try:
        commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _blob_of(path: Path) -> str:
    """Return what the hub knows a file's content by: where the file links to; a copied cache may hold plain files."""
    name = path.readlink().name if path.is_symlink() else ""
    return name if _BLOB.fullmatch(name) else sha256_of_file(path)


def _is_name(revision: str) -> bool:
    return revision.isprintable() and not any(part in ("", ".", "..") for part in revision.split("/"))
