"""Failures of the disk, as errors that name what could not be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bevformer_lib.errors import CalibrationError


@contextmanager
def named_disk_errors(target: Path) -> Iterator[None]:
    """Turn an :class:`OSError` inside the block (a full disk has no file name of its own) into one about ``target``.

    Raises:
        CalibrationError: in its place.
    """
    try:
        yield
    except OSError as error:
        raise CalibrationError(
            f"{error.filename or target}: {error.strerror or error}; {target} was not written. "
            "Make room and run the same command again"
        ) from error
