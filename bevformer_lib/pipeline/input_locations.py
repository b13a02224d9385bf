"""Inputs where they are, and on this machine: a path stays what it is, an address on the hub is fetched.

What a build records of an input is its address, pinned to a commit where it is on the hub, so that every machine gets
the same content from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from bevformer_lib.errors import SceneError, SourceError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.index import SceneEntry, find_scenes
from bevformer_lib.scenes.layout import MADE_UP_MARK, SCENE_INDEX_NAME
from bevformer_lib.source.address import is_hub, parse_local
from bevformer_lib.source.hub import note_fetched
from bevformer_lib.source.hub_access import current_hub_access
from bevformer_lib.source.open import fetch, resolve_source
from bevformer_lib.source.resolved import ResolvedSource

_NAMED: Final = 10
_BESIDE: Final = (SCENE_INDEX_NAME, MADE_UP_MARK)
"""Files that stand beside the scenes' folders."""


@dataclasses.dataclass(frozen=True)
class Place:
    """An input on this machine.

    Attributes:
        source: address from which any machine gets the same.
        chosen: names of the scenes that were fetched, in order; ``None`` for what is not on the hub.
    """

    path: Path
    source: str
    chosen: tuple[str, ...] | None = None


def file_place(address: str | Path, on_progress: ProgressCallback = no_progress) -> Place:
    """Return a file at an address; one on the hub is fetched, as it is now.

    Raises:
        SourceError: the address is none, or the hub does not have it or can't be reached.
    """
    if not is_hub(address):
        path = parse_local(address)
        return Place(path, str(path))
    access = current_hub_access()
    source = resolve_source(address, access)
    if source.is_folder:
        raise SourceError(f"{address}: is a folder; give the address of a file")
    return Place(fetch(source, on_progress, access=access), source.uri)


def scenes_place(
    address: str | Path,
    choose: Callable[[tuple[SceneEntry, ...]], Sequence[SceneEntry]],
    on_progress: ProgressCallback = no_progress,
) -> Place:
    """Return a folder of scenes at an address; of one on the hub, only the chosen scenes are fetched.

    Args:
        address: of the folder.
        choose: is given all scenes of a folder on the hub in order, and returns those that are needed.
        on_progress: called with the progress of the download.

    Raises:
        SourceError: the address is none, or the hub does not have it or can't be reached.
        SceneError: a folder on the hub does not hold the scenes that it lists, or none was chosen.
    """
    if not is_hub(address):
        path = parse_local(address)
        return Place(path, str(path))
    access = current_hub_access()
    source = resolve_source(address, access)
    if not source.is_folder:
        raise SourceError(f"{address}: is a file; give the address of a folder of scenes")
    beside = [
        fetch(_part(source, file.path, is_folder=False), access=access) for file in source.files if file.path in _BESIDE
    ]
    folders = sorted({PurePosixPath(file.path).parts[0] for file in source.files if "/" in file.path})
    entries = tuple(SceneEntry(name, None) for name in folders)
    if any(path.name == SCENE_INDEX_NAME for path in beside):
        entries, defects = find_scenes(beside[0].parent)
        if defects:
            raise SceneError(f"{address}: its list of scenes is broken:", defects)
    chosen = [entry.name for entry in choose(entries)]
    missing = sorted(set(chosen) - set(folders))
    if missing or not chosen:
        there = f"it holds {len(folders)} scene folders: {', '.join(folders[:_NAMED])}"
        raise SceneError(f"{address}: {f'has no scene {missing[0]}' if missing else 'no scene was selected'}; {there}")
    found = [fetch(_part(source, name, is_folder=True), on_progress, access=access) for name in chosen]
    note_fetched(source)
    return Place(found[0].parent, source.uri, tuple(chosen))


def scenes_here(source: str, names: Sequence[str]) -> Path:
    """Return the folder of scenes that a build has recorded, with at least the named scenes in it.

    Raises:
        SourceError: the hub can't be reached.
        SceneError: there is no such folder on this machine.
    """
    if not is_hub(source):
        path = Path(source)
        if not path.is_dir():
            raise SceneError(
                f"{path}: is not on this machine, or was removed while it was in use; machines that share a build's "
                "work need its scenes under one path, or on the hub (hf://...)"
            )
        return path
    access = current_hub_access()
    for name in _BESIDE:
        try:
            fetch(resolve_source(f"{source}/{name}", access), access=access)
        except SourceError:
            continue  # not every folder has it; where the hub is out of reach, the scenes themselves say so
    found = [fetch(resolve_source(f"{source}/{name}", access), access=access) for name in names]
    return found[0].parent


def file_here(source: str) -> Path:
    """Return the file that a build has recorded; one on the hub is fetched.

    Raises:
        SourceError: the hub can't be reached.
    """
    return file_place(source).path


def position_here(root: Path, name: str) -> int:
    """Return the place of a scene in the order of a folder on this machine.

    Raises:
        SceneError: it is not there.
    """
    names = [entry.name for entry in find_scenes(root)[0]]
    if name not in names:
        raise SceneError(f"{root}: scene {name} was removed while it was in use; start the build again")
    return names.index(name)


def _part(source: ResolvedSource, name: str, *, is_folder: bool) -> ResolvedSource:
    """Return a file or a folder of a source as a source of its own."""
    if is_folder:
        inside = [file for file in source.files if file.path.startswith(f"{name}/")]
        files = tuple(dataclasses.replace(file, path=file.path.removeprefix(f"{name}/")) for file in inside)
    else:
        files = tuple(file for file in source.files if file.path == name)
    return dataclasses.replace(
        source,
        place=f"{source.place}/{name}".lstrip("/"),
        is_folder=is_folder,
        files=files,
        revision=source.commit,
    )
