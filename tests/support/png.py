"""PNG files put together by hand, as no library writes them."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with a sound checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, *, bits: int = 8, color_type: int = 2, interlaced: bool = False) -> bytes:
    """An IHDR chunk; color type 2 is RGB, 3 palette."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, int(interlaced)))


def interlaced_png(image: NDArray[np.uint8]) -> bytes:
    """A (H, W, 3) RGB image in Adam7 order."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in image[y::dy, x::dx] if row.size)
    size = header(image.shape[1], image.shape[0], interlaced=True)
    return SIGNATURE + size + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette_png(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """A (H, W) image of indices into a (n, 3) RGB palette."""
    rows = b"".join(b"\0" + row.tobytes() for row in indices)
    size = header(indices.shape[1], indices.shape[0], color_type=3)
    colors = chunk(b"PLTE", palette.tobytes())
    return SIGNATURE + size + colors + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
