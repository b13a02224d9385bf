"""Whether an image file is whole, without decoding it: PNG, or JPEG as nuScenes has them.

A PNG carries a CRC-32 per chunk and ends with a chunk of its own, so truncation and flipped bits show without
inflating anything. Measured on 24 real images of 480 x 800 (376 KB each, one core): 0.12 ms for the CRCs, 4.5 ms to
inflate, 8.2 ms to decode with OpenCV; for 34,000 frames of six cameras that is 25 seconds against 28 minutes. What CRCs
can't show is a file whose writer put sound CRCs around unsound data; decoding it later fails with the file's name.

A JPEG has no checksums: its size is read from its frame header, and a truncated one shows by its missing end.

Sources: PNG specification, third edition, sections 5 (datastream structure) and 11.2.1 (IHDR); ITU-T T.81, annex B.
"""

from __future__ import annotations

import struct
import zlib

from bevformer_lib.foreign_files import what_it_is

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LENGTH = struct.Struct(">I")
_HEADER = struct.Struct(">IIB")
_CHUNK_OVERHEAD = 12
_BITS_PER_CHANNEL = (1, 2, 4, 8)
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"
_JPEG_FRAME = struct.Struct(">BHHB")
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA


def check_image(content: bytes) -> tuple[int, int]:
    """Check that ``content`` is a whole PNG or JPEG of up to 8 bits per channel; return its (height, width) in pixels.

    Raises:
        ValueError: what is wrong with it.
    """
    return check_jpeg(content) if content.startswith(_JPEG) else check_png(content)


def check_jpeg(content: bytes) -> tuple[int, int]:
    """Check that ``content`` is a JPEG of 8 bits per channel that has its end; return its (height, width) in pixels.

    Raises:
        ValueError: what is wrong with it.
    """
    size: tuple[int, int] | None = None
    offset = 2
    while True:
        if offset + 4 > len(content):
            raise ValueError(f"is truncated: it stops after {len(content)} bytes without the JPEG's image data")
        if content[offset] != 0xFF:
            raise ValueError(f"is corrupt: no JPEG marker at byte {offset}")
        marker = content[offset + 1]
        if marker == 0xFF:
            offset += 1
            continue
        (length,) = struct.unpack_from(">H", content, offset + 2)
        if marker in _FRAME_HEADERS and offset + 4 + _JPEG_FRAME.size <= len(content):
            bits, height, width, _ = _JPEG_FRAME.unpack_from(content, offset + 4)
            if bits != 8:
                raise ValueError(f"has {bits} bits per channel; store it with 8")
            size = height, width
        offset += 2 + length
        if marker == _START_OF_SCAN:
            break
    if size is None or not all(size):
        raise ValueError("is corrupt: the JPEG does not give its size")
    if content.find(_JPEG_END, offset) < 0:
        raise ValueError(f"is truncated: it stops after {len(content)} bytes without the JPEG's end")
    return size


def check_png(content: bytes) -> tuple[int, int]:
    """Check that ``content`` is a whole PNG of up to 8 bits per channel and return its (height, width) in pixels.

    Gray, palette, transparent and interlaced images pass; ``cv2.IMREAD_COLOR`` turns them into BGR, dropping alpha.

    Raises:
        ValueError: what is wrong with it.
    """
    if not content.startswith(_SIGNATURE):
        raise ValueError(_not_png(content))
    size: tuple[int, int] | None = None
    has_data = False
    view = memoryview(content)
    offset = len(_SIGNATURE)
    while True:
        if offset + _CHUNK_OVERHEAD > len(content):
            raise ValueError(f"is truncated: it stops after {len(content)} bytes without the PNG's end")
        (length,) = _LENGTH.unpack_from(content, offset)
        kind = content[offset + 4 : offset + 8]
        end = offset + _CHUNK_OVERHEAD + length
        if end > len(content):
            raise ValueError(f"is truncated: it stops after {len(content)} bytes without the PNG's end")
        (stored_crc,) = _LENGTH.unpack_from(content, end - 4)
        if zlib.crc32(view[offset + 4 : end - 4]) != stored_crc:
            raise ValueError(f"is corrupt: the checksum of the PNG chunk at byte {offset} is wrong")
        if size is None:
            size = _read_header(kind, view[offset + 8 : end - 4])
        has_data = has_data or kind == b"IDAT"
        if kind == b"IEND":
            break
        offset = end
    if not has_data:
        raise ValueError("holds no image data")
    return size


def _read_header(kind: bytes, data: memoryview) -> tuple[int, int]:
    if kind != b"IHDR" or len(data) < _HEADER.size:
        raise ValueError("is corrupt: the PNG does not begin with its header")
    width, height, bits = _HEADER.unpack_from(data)
    if bits not in _BITS_PER_CHANNEL:
        raise ValueError(f"has {bits} bits per channel; store it with 8")
    return height, width


def _not_png(content: bytes) -> str:
    if not content:
        return "is empty"
    what = what_it_is(content[:512])
    return f"is neither PNG nor JPEG: {what}" if what else "is neither PNG nor JPEG"
