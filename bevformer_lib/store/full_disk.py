"""A full disk, said so that a user can act on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bevformer_lib.errors import StoreError
from bevformer_lib.files import FULL_DISK


@contextmanager
def named_full_disk(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into a :class:`StoreError` that names the file.

    Args:
        path: named where the failed call did not know its file.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise StoreError(
            f"{error.filename or path}: {error.strerror}; free some space and run the same command again: "
            "finished steps are kept"
        ) from error
