"""The record of a whole build, and its files under names for people."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from bevformer_lib import __version__
from bevformer_lib.errors import DamagedRecordError, StoreError
from bevformer_lib.files import atomic_path
from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.store.base import BUILDS, Store
from bevformer_lib.store.run import StepResult
from bevformer_lib.store.step import Artifact

_ID_LETTERS: Final = 16


@dataclass(frozen=True)
class Build:
    """A finished build; the same steps are the same build, whenever and wherever they ran.

    Attributes:
        name: the model's.
        steps: identities of its steps' records, in order.
        outputs: its files by path.
        created_at: when it was finished first; UTC, ISO 8601.
        product_version: version of this package that did it.
    """

    name: str
    steps: tuple[str, ...]
    outputs: Mapping[str, Artifact]
    created_at: str
    product_version: str

    @property
    def identity(self) -> str:
        """Key of its record."""
        return hashlib.sha256("\n".join(self.steps).encode()).hexdigest()[:_ID_LETTERS]


def record_build(store: Store, name: str, steps: Sequence[StepResult], outputs: Mapping[str, Artifact]) -> Build:
    """Record a finished build, unless the same one is recorded already; return what is recorded."""
    build = Build(
        name=name,
        steps=tuple(result.record.identity for result in steps),
        outputs=outputs,
        created_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        product_version=__version__,
    )
    if store.put_record(BUILDS, build.identity, to_plain(build)):
        return build
    try:
        content = store.get_record(BUILDS, build.identity)
    except DamagedRecordError:
        store.remove_record(BUILDS, build.identity)
        store.put_record(BUILDS, build.identity, to_plain(build))
        return build
    store.refresh_record(BUILDS, build.identity)  # used again: the collector counts it among the newest
    return build if content is None else _read(store, build.identity, content)


def read_build(store: Store, identity: str) -> Build:
    """Return a recorded build.

    Raises:
        StoreError: there is none, or its record can't be read.
    """
    content = store.get_record(BUILDS, identity)
    if content is None:
        raise StoreError(f"{store.uri}: holds no build {identity}; build again")
    return _read(store, identity, content)


def _read(store: Store, identity: str, content: Mapping[str, Any]) -> Build:
    try:
        return from_plain(Build, content)
    except ValueError as error:
        raise StoreError(f"{store.uri}: build {identity} {error}; build again") from None


def lay_out(store: Store, build: Build, folder: Path) -> Path:
    """Put a build's files under their names; those that are there already, and hold what they should, are left alone.

    Args:
        store: holds the files.
        build: the build.
        folder: gets a folder for this build. Files are hard links where the file system can, copies elsewhere.
    """
    target = folder / f"{build.name}-{build.identity}"
    for path, artifact in build.outputs.items():
        file = target / path
        if not file.is_file() or store.digests.digest(file) != artifact.sha256:
            source = open_artifact(store, artifact)
            with atomic_path(file) as temporary:
                _link_or_copy(source, temporary)
    return target


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
