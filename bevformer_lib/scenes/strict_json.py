"""JSON read from other people's files: one kind of error, and no key silently given twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file whose top level is an object.

    Raises:
        ValueError: what is wrong with the file, as the end of a sentence that starts with its name.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_unique_keys)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or error}") from error
    except _DuplicateKeyError as error:
        raise ValueError(f"holds the key {error} twice") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"must hold a JSON object, not {type(content).__name__}")
    return content


class _DuplicateKeyError(Exception):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _DuplicateKeyError(repr(key))
        content[key] = value
    return content
