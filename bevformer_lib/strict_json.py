"""JSON from files: one kind of error, whatever is wrong, and no key silently given twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 100
"""Nesting of objects and lists; what this project reads reaches about fifteen."""


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: it is not JSON, names a key twice, holds NaN or an infinity, or is nested too deep; said as the end
            of a sentence that starts with the text's name.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse)
    except _RefusedError:
        raise
    except RecursionError as error:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise ValueError(f"is not valid JSON: {error}") from error
    if _is_deep(content):
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
    return content


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        OSError: the file can't be read.
        ValueError: see :func:`parse_json`.
    """
    return parse_json(path.read_bytes())


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file whose top level is an object.

    Raises:
        ValueError: what is wrong with the file, as the end of a sentence that starts with its name.
    """
    try:
        content = read_json(path)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror or error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"must hold a JSON object, not {type(content).__name__}")
    return content


class _RefusedError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _RefusedError(f"holds the key {key!r} twice")
        content[key] = value
    return content


def _refuse(constant: str) -> NoReturn:
    raise _RefusedError(f"holds {constant}; every number must be finite")


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for one in level
            if isinstance(one, (dict, list))
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
