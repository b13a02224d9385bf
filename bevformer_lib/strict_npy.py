"""Arrays from .npy files: the header is held against the size of the file before anything is made of it."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_BYTES: Final = 1 << 30
"""Far above any input of a model: base's images of a frame have 107 MB."""
HEADER_BYTES: Final = 1 << 10
"""More than stands before the values in a .npy file."""
_KINDS: Final = "biuf"
_MOST_AXES: Final = 32


def parse_npy(content: bytes) -> NDArray[Any]:
    """Return the array of numbers that the content of a .npy file holds.

    Raises:
        ValueError: it is no such file, holds something other than numbers, or another size than its header says; said
            as the end of a sentence that starts with its name.
    """
    stream = io.BytesIO(content)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]}")
        shape, is_fortran, dtype = readers[version](stream)
        if len(shape) > _MOST_AXES or any(type(size) is not int or size < 0 for size in shape):
            raise ValueError(f"shape {shape}")
    except (
        ValueError,
        TypeError,
        KeyError,
        SyntaxError,
        RecursionError,
        MemoryError,
        OverflowError,
        TokenError,
    ) as error:
        raise ValueError(f"is no .npy file ({str(error)[:200] or type(error).__name__})") from error
    if dtype.hasobject or dtype.kind not in _KINDS:
        raise ValueError(f"holds {dtype}, not numbers"[:200])
    wanted = stream.tell() + math.prod(shape) * dtype.itemsize
    if wanted != len(content):
        raise ValueError(f"has {len(content):,} bytes; its header asks for {dtype} {shape}, {wanted:,} bytes"[:400])
    flat = np.frombuffer(content, dtype, count=math.prod(shape), offset=stream.tell())
    return flat.reshape(shape, order="F" if is_fortran else "C").copy(order="K")


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of numbers that a .npy file holds.

    Raises:
        ValueError: it can't be read, or see :func:`parse_npy`.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"is larger than {MOST_BYTES:,} bytes; no input of a model is")
        return parse_npy(path.read_bytes())
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or error}") from error


def parse_npz(content: bytes, most_bytes: int = MOST_BYTES) -> dict[str, NDArray[Any]]:
    """Return the arrays of numbers by name that the content of a .npz file holds.

    Raises:
        ValueError: it is no such file, or would become larger than ``most_bytes``; see :func:`parse_npy`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > most_bytes:
                raise ValueError(f"would become larger than {most_bytes:,} bytes")
            return {entry.filename.removesuffix(".npy"): parse_npy(archive.read(entry)) for entry in archive.infolist()}
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise ValueError(f"is no .npz file ({error})") from error
