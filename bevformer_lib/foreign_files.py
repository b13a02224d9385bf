"""What a file that can't be read really is: files of other kinds that often lie under a wanted name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HEAD_BYTES: Final = 512
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_IMAGES: Final = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


def what_it_is(head: bytes) -> str | None:
    """Return what the beginning of a file shows it to be, with what to do; ``None`` where nothing is recognised."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(_LFS):
        return "it is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned, or download it"
    if text[:1] == b"<" and (b"<html" in text.lower() or b"<!doctype" in text.lower() or b"<?xml" in text.lower()):
        return "it is a web page, as a failed download leaves it: download the file itself"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**32:
        return "it is a safetensors file: give it the ending .safetensors"
    if head.startswith(b"\x1f\x8b"):
        return "it is a gzip archive: unpack it"
    for start, name in _IMAGES.items():
        if head.startswith(start):
            return f"it is a {name} image"
    return None


def advice(path: Path, otherwise: str) -> str:
    """Return what to do about a file that can't be read as what it should be.

    Args:
        path: the file.
        otherwise: the advice where the file is not recognised as something else.
    """
    try:
        with path.open("rb") as file:
            return what_it_is(file.read(_HEAD_BYTES)) or otherwise
    except OSError:
        return otherwise
