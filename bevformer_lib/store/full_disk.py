"""A full disk, said so that a user can act on it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bevformer_lib.errors import StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def named_full_disk(path: Path) -> Iterator[None]:
    """Turn "no space left" and "quota exceeded" into a :class:`StoreError` that names the file.

    Args:
        path: named where the failed call did not know its file.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StoreError(
            f"{error.filename or path}: {error.strerror}; free some space and run the same command again: "
            "finished steps are kept"
        ) from error
