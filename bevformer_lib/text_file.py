"""Texts that people write: bounded, UTF-8, and one sentence for whatever is wrong."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path, max_bytes: int) -> str:
    """Return the text of a file, without a byte order mark.

    Raises:
        ValueError: it can't be read, is too large or no UTF-8; said as the end of a sentence that starts with its name.
    """
    try:
        if path.is_dir():
            raise ValueError("is a folder, not a file")
        if not path.is_file():
            raise ValueError("no such file")
        if path.stat().st_size > max_bytes:
            raise ValueError(f"is larger than {max_bytes} bytes; that is not a file that people write")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or error}") from error
