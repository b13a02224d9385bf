"""Names of records in a file system or a bucket: any text as one part of a path, and back."""

from __future__ import annotations

from urllib.parse import unquote

SUFFIX = ".json"


def encoded(part: str) -> str:
    """Encode any text as one file name: no separators, no leading dot."""
    text = part.replace("%", "%25").replace("/", "%2F")
    return "%2E" + text[1:] if text.startswith(".") else text


def encoded_kind(kind: str) -> str:
    """Encode a kind as a relative path that never leaves its folder."""
    return "/".join(encoded(part) for part in kind.split("/"))


def decoded_kind(path: str) -> str:
    """Return the kind that :func:`encoded_kind` made a path of."""
    return "/".join(unquote(part) for part in path.split("/"))


def decoded_key(file_name: str) -> str:
    """Return the key of a record's file."""
    return unquote(file_name.removesuffix(SUFFIX))
