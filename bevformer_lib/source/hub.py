"""What an address on the hub names: its revision resolved once to a commit, and the files it holds there."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bevformer_lib.errors import SourceError
from bevformer_lib.files import write_json
from bevformer_lib.plain_data import to_plain
from bevformer_lib.source.address import HubAddress
from bevformer_lib.source.hub_access import OFFLINE_ADVICE, HubAccess, named_hub_errors
from bevformer_lib.source.hub_cache import find_in_cache, repository_folder
from bevformer_lib.source.resolved import ResolvedSource, SourceFile, read_resolved
from bevformer_lib.store.open import cache_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile, RepoFolder

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NAMED: Final = 30


def resolve_hub(address: HubAddress, access: HubAccess) -> ResolvedSource:
    """Return the files that an address names at this moment.

    A full commit that was fetched before is not asked for again; offline, neither is anything else.

    Raises:
        SourceError: repository, revision or path is missing (what there is instead is listed) or forbidden, the hub
            can't be reached, or, offline, the cache does not hold it.
    """
    noted = read_resolved(note_path(address))
    if access.is_offline:
        cached = noted if noted is not None and _is_here(noted, access) else find_in_cache(address, access)
        if cached is not None:
            return cached
        raise SourceError(f"{address.uri}: {OFFLINE_ADVICE}")
    if noted is not None and _COMMIT.fullmatch(address.revision):
        return noted
    with named_hub_errors(address, access):
        api = access.api()
        commit = api.repo_info(address.repo, revision=address.revision).sha
        if commit is None or not _COMMIT.fullmatch(commit):
            raise SourceError(f"{address.uri}: {access.endpoint_url} does not say which commit that is")
        is_folder, found = _files(api, address.at(commit), address)
        prefix = f"{address.path}/" if is_folder and address.path else ("" if is_folder else _parent(address.path))
        strange = next((file.path for file in found if not file.path.startswith(prefix)), None)
        if strange is not None:
            raise SourceError(f"{address.uri}: {access.endpoint_url} lists {ascii(strange)[:200]} in that folder")
        files = [SourceFile(file.path.removeprefix(prefix), file.size, _blob(file)) for file in found]
        return ResolvedSource(
            kind="hub",
            place=address.path,
            is_folder=is_folder,
            files=tuple(sorted(files, key=lambda file: file.path)),
            repo=address.repo,
            revision=address.revision,
            commit=commit,
        )


def note_fetched(source: ResolvedSource) -> None:
    """Remember what an address named, for work without a network, under its revision and under its commit."""
    assert source.repo is not None and source.revision is not None and source.commit is not None  # noqa: S101 (types)
    address = HubAddress(source.repo, source.revision, source.place)
    for pinned in (address, address.at(source.commit)):
        write_json(note_path(pinned), to_plain(source))


def note_path(address: HubAddress) -> Path:
    """Return where it is remembered what an address named when it was fetched last."""
    return cache_folder() / "hub" / f"{hashlib.sha256(address.uri.encode()).hexdigest()[:32]}.json"


def _files(api: HfApi, address: HubAddress, asked: HubAddress) -> tuple[bool, list[RepoFile]]:
    """Return whether the address names a folder, and its files."""
    from huggingface_hub.hf_api import RepoFile

    if address.path:
        siblings = _listing(api, address, address.path.rpartition("/")[0])
        entry = next((entry for entry in siblings or () if entry.path == address.path), None)
        if entry is None:
            raise SourceError(f"{asked.uri}: there is no such file or folder; {_say_what_is_there(api, address)}")
        if isinstance(entry, RepoFile):
            return False, [entry]
    tree = api.list_repo_tree(address.repo, address.path or None, recursive=True, revision=address.revision)
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    if not files:
        raise SourceError(f"{asked.uri}: the folder holds no files")
    return True, files


def _listing(api: HfApi, address: HubAddress, folder: str) -> list[RepoFile | RepoFolder] | None:
    """Return what a folder holds itself, or ``None`` if there is no such folder."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return list(api.list_repo_tree(address.repo, folder or None, revision=address.revision))
    except EntryNotFoundError:
        return None


def _say_what_is_there(api: HfApi, address: HubAddress) -> str:
    """Return the content of the deepest folder on the way to the path that exists."""
    from huggingface_hub.hf_api import RepoFolder

    folder = address.path
    while True:
        folder = folder.rpartition("/")[0]
        entries = _listing(api, address, folder)
        if entries or not folder:
            break
    names = [entry.path + ("/" if isinstance(entry, RepoFolder) else "") for entry in entries or ()]
    shown = ", ".join(sorted(names)[:_NAMED]) or "nothing"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    place = f"{address.repo}/{folder}" if folder else address.repo
    return f"{place} holds: {shown}{more}"


def _blob(file: RepoFile) -> str:
    return file.blob_id if file.lfs is None else file.lfs.sha256


def _is_here(source: ResolvedSource, access: HubAccess) -> bool:
    return (repository_folder(str(source.repo), access) / "snapshots" / str(source.commit) / source.place).exists()


def _parent(path: str) -> str:
    folder, slash, _ = path.rpartition("/")
    return folder + slash
