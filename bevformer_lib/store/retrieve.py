"""Copying finished work out of a store, by the names that people know it by."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bevformer_lib.errors import OutputError, StoreError
from bevformer_lib.files import atomic_path, sha256_of_file
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.store.aliases import get_alias, list_aliases
from bevformer_lib.store.base import BUILDS, Store
from bevformer_lib.store.reach import named_by_record
from bevformer_lib.store.step import Artifact, StepRecord

_MIN_DIGITS: Final = 6
_HEX: Final = frozenset("0123456789abcdef")


def retrieve(store: Store, what: str, output: Path, *, on_progress: ProgressCallback = no_progress) -> Path:
    """Copy files out of a store; nothing half-copied is ever under the final name.

    Args:
        store: holds the content.
        what: an alias, a build's id, a step's record (``kind/key``), or the first digits of an object's sha256 (six at
            least). An object is copied to a file, all else to a folder with the files under their names.
        output: file or folder to write.
        on_progress: called with the progress of the files.

    Raises:
        StoreError: there is nothing of that name, or the content is missing or broken.
        OutputError: something else is there already.
    """
    files = _files_of(store, what)
    if files is None:
        _copy_object(store, _object_of(store, what), output)
        return output
    if output.exists() and any(output.iterdir() if output.is_dir() else [output]):
        raise OutputError(f"{output}: is there already; give a folder that does not exist yet")
    if output.is_dir():
        output.rmdir()
    with atomic_path(output) as temporary:
        temporary.mkdir()
        for number, (name, sha256) in enumerate(files.items(), start=1):
            target = temporary / name
            if not target.resolve().is_relative_to(temporary.resolve()):
                raise StoreError(f"{store.uri}: {what} names a file outside its folder ({name}); not copied")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store.get_object(sha256), target)
            on_progress("copying files", number, len(files))
    return output


def build_of(store: Store, what: str) -> str | None:
    """Return the id of the build that an alias, an id or the first digits of one name, if any."""
    entry = get_alias(store, what) if what and "/" not in what else None
    wanted = what if entry is None else entry.target
    found = [key for key in store.list_records(BUILDS) if key == wanted or key.startswith(wanted)]
    if wanted in found:
        return wanted
    if len(found) > 1 and len(wanted) >= _MIN_DIGITS:
        raise StoreError(f"{store.uri}: several builds begin with {wanted}: {', '.join(found)}; give more digits")
    return found[0] if len(found) == 1 and len(wanted) >= _MIN_DIGITS else None


def _files_of(store: Store, what: str) -> Mapping[str, str] | None:
    """Return path -> digest of what a build or a step wrote, or ``None`` if ``what`` names neither."""
    kind, slash, key = what.strip("/").rpartition("/")
    if slash:
        content = store.get_record(kind, key)
        if content is None:
            raise StoreError(f"{store.uri}: holds no record {what}; `bevformer store ls` lists what it holds")
        if kind != BUILDS:
            return _digests(StepRecord.from_dict(content).outputs)
        build: str | None = key
    else:
        build = build_of(store, what)
    return None if build is None else _files_of_build(store, build)


def _files_of_build(store: Store, build: str) -> Mapping[str, str]:
    """Return a build's own files, or those of its steps (each below the step's kind) where it names none itself."""
    content = store.get_record(BUILDS, build)
    if content is None:
        raise StoreError(f"{store.uri}: build {build} is gone")
    steps, outputs = named_by_record(BUILDS, content)
    if outputs:
        return {path: fields["sha256"] for path, fields in content["outputs"].items()}
    files: dict[str, str] = {}
    for identity in steps:
        kind, _, key = identity.rpartition("/")
        step = store.get_record(kind, key)
        if step is None:
            raise StoreError(f"{store.uri}: build {build} names step {identity}, which is gone; build again")
        outputs_of_step = _digests(StepRecord.from_dict(step).outputs)
        files |= {f"{kind}/{name}": sha256 for name, sha256 in outputs_of_step.items()}
    return files


def _digests(outputs: Mapping[str, Artifact]) -> dict[str, str]:
    return {name: artifact.sha256 for name, artifact in outputs.items()}


def _object_of(store: Store, digits: str) -> str:
    wanted = digits.lower()
    if len(wanted) < _MIN_DIGITS or not _HEX.issuperset(wanted):
        aliases = ", ".join(list_aliases(store)) or "none"
        raise StoreError(
            f"{store.uri}: {digits!r} is no alias (there are: {aliases}) and no build; give one of these, a step's "
            f"record (kind/key) or at least {_MIN_DIGITS} digits of a sha256"
        )
    found = [entry.sha256 for entry in store.list_objects() if entry.sha256.startswith(wanted)]
    if len(found) != 1:
        problem = f"{len(found)} objects begin so; give more digits" if found else "no build and no object begins so"
        raise StoreError(f"{store.uri}: {digits}: {problem}")
    return found[0]


def _copy_object(store: Store, sha256: str, output: Path) -> None:
    if output.is_dir() or (output.is_file() and sha256_of_file(output) != sha256):
        raise OutputError(f"{output}: something else is there already; give another name")
    with atomic_path(output) as temporary:
        shutil.copyfile(store.get_object(sha256), temporary)
