"""Copies of fetched sources, outside the shared cache."""

from __future__ import annotations

import shutil
from pathlib import Path

from bevformer_lib.errors import OutputError
from bevformer_lib.files import atomic_path
from bevformer_lib.store.full_disk import named_full_disk


def copy_out(path: Path, output: Path) -> Path:
    """Copy a file or a folder (links become files); nothing half-copied is ever under the final name.

    Raises:
        OutputError: something is there already.
        StoreError: no space left.
    """
    if output.exists():
        raise OutputError(f"{output}: is there already; give a name that does not exist yet")
    with named_full_disk(output), atomic_path(output) as temporary:
        if path.is_dir():
            shutil.copytree(path, temporary)
        else:
            shutil.copyfile(path, temporary)
    return output
