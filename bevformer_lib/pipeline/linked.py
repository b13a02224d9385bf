"""Artifacts under the names that a tool expects them to have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.scratch import temporary_folder
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact


@contextmanager
def linked_folder(store: Store, files: Mapping[str, Artifact]) -> Iterator[Path]:
    """Give a folder in which every artifact stands under its name, as a symbolic link; it is gone afterwards.

    Args:
        store: holds the artifacts.
        files: path within the folder -> artifact.
    """
    with temporary_folder() as folder:
        for path, artifact in files.items():
            link = folder / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(open_artifact(store, artifact).absolute())
        yield folder
