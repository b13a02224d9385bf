"""Places in nested data, as validation names them."""

from __future__ import annotations

from typing import Any, TypeAlias

Location: TypeAlias = tuple[int | str, ...]
"""Where a value is: keys and places in lists."""


def dotted(location: Location) -> str:
    """Return a place as people write it."""
    return ".".join(str(part) for part in location) or "the config"


def take(content: Any, location: Location) -> Any:
    """Remove a value from nested data and return it."""
    for part in location[:-1]:
        content = content[part]
    return content.pop(location[-1])


def put(content: Any, location: Location, value: Any) -> None:
    """Put a value where one was taken; mappings that are gone are made again."""
    for part in location[:-1]:
        content = content.setdefault(part, {}) if isinstance(content, dict) else content[part]
    content[location[-1]] = value
