"""Typed reading of nested config data; every error names the file and the dotted key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bevformer_lib.config.limits import MAX_COUNT
from bevformer_lib.config.unreadable import Unreadable
from bevformer_lib.errors import ConfigError
from bevformer_lib.strict_json import parse_json


def metadata_section(properties: Mapping[str, str], key: str, *, source: str) -> Section | None:
    """Return the JSON object that an entry of a graph's metadata holds, or ``None`` where there is no such entry.

    Raises:
        ConfigError: the entry holds no JSON object.
    """
    text = properties.get(key)
    if text is None:
        return None
    damaged = f"{source}: its metadata entry {key} is damaged"
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{damaged} ({error})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{damaged} (it is no JSON object)")
    return Section(content, damaged)


class Section:
    """A mapping inside a config file.

    Attributes:
        source: the file (or what else names the config), for messages.
        path: dotted key of this mapping, "" for the whole file.
    """

    def __init__(self, content: Mapping[str, Any], source: str, path: str = "") -> None:
        self.content = content
        self.source = source
        self.path = path

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def dotted(self, key: str) -> str:
        """Return the dotted key of ``key``."""
        return f"{self.path}.{key}" if self.path else key

    def error(self, key: str, what: str) -> ConfigError:
        """Return an error about ``key``."""
        return ConfigError(f"{self.source}: {self.dotted(key)} {what}")

    def value(self, key: str) -> Any:
        """Return what is under ``key``.

        Raises:
            ConfigError: nothing is; so do all methods below, and when it has the wrong type.
        """
        if key not in self.content:
            raise self.error(key, "is missing; add it")
        value = self.content[key]
        if isinstance(value, Unreadable):
            raise ConfigError(value.reason)
        return value

    def check_equal(self, key: str, value: object, expected: object, place: str) -> None:
        """Refuse a ``value`` under ``key`` that differs from what ``place`` says."""
        if value != expected:
            raise self.error(key, f"is {value}, but {place} is {expected}; make them equal")

    def section(self, key: str) -> Section:
        """Return the mapping under ``key``."""
        return self._section(self.value(key), key)

    def sections(self, key: str, count: int | None = None) -> tuple[Section, ...]:
        """Return the list of mappings under ``key``, of which there must be ``count``."""
        items = self._items(key, count)
        return tuple(self._section(item, f"{key}.{index}") for index, item in enumerate(items))

    def text(self, key: str) -> str:
        """Return a string that is not empty."""
        value = self.value(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"must be a text that is not empty, not {shown(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of different strings, none of them empty."""
        items = self._items(key, None)
        if not items or not all(isinstance(item, str) and item for item in items):
            raise self.error(key, "must be a list of texts, none of them empty")
        if len(set(items)) != len(items):
            raise self.error(key, "names something twice; every name must differ")
        return tuple(items)

    def boolean(self, key: str) -> bool:
        """Return true or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, not {shown(value)}")
        return value

    def booleans(self, key: str, count: int) -> tuple[bool, ...]:
        """Return ``count`` times true or false."""
        items = self._items(key, count)
        if not all(isinstance(item, bool) for item in items):
            raise self.error(key, f"must hold only true and false, not {shown(self.value(key))}")
        return tuple(items)

    def positive_int(self, key: str, *, at_most: int = MAX_COUNT) -> int:
        """Return an integer of at least 1, and no larger than such a size or count can be."""
        value = self.value(key)
        if not _is_positive_int(value):
            raise self.error(key, f"must be a whole number of at least 1, not {shown(value)}")
        if value > at_most:
            raise self.error(key, f"is larger than {at_most}; no model needs that")
        return int(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers."""
        items = self._items(key, None)
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            raise self.error(key, f"must be a list of whole numbers, not {shown(self.value(key))}")
        return tuple(items)

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self.value(key)
        if not _is_finite_number(value):
            raise self.error(key, f"must be a finite number, not {shown(value)}")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """Return a finite number, or ``None`` where the key is absent or null."""
        return None if self.content.get(key) is None else self.number(key)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """Return ``count`` finite numbers."""
        items = self._items(key, count)
        if not all(_is_finite_number(item) for item in items):
            raise self.error(key, f"must hold {count} finite numbers, not {shown(self.value(key))}")
        return tuple(float(item) for item in items)

    def triple(self, key: str) -> tuple[float, float, float]:
        """Return three finite numbers."""
        first, second, third = self.numbers(key, 3)
        return first, second, third

    def box_range(self, key: str) -> tuple[float, float, float, float, float, float]:
        """Return x_min, y_min, z_min, x_max, y_max, z_max, each minimum below its maximum."""
        x_min, y_min, z_min, x_max, y_max, z_max = self.numbers(key, 6)
        if not (x_min < x_max and y_min < y_max and z_min < z_max):
            raise self.error(key, "must be three minima (x, y, z), then three larger maxima")
        return x_min, y_min, z_min, x_max, y_max, z_max

    def _section(self, value: Any, key: str) -> Section:
        if not isinstance(value, Mapping):
            raise self.error(key, f"must be a dict, not {shown(value)}")
        return Section(value, self.source, self.dotted(key))

    def _items(self, key: str, count: int | None) -> Sequence[Any]:
        value = self.value(key)
        if not isinstance(value, (list, tuple)):
            raise self.error(key, f"must be a list, not {shown(value)}")
        if count is not None and len(value) != count:
            raise self.error(key, f"must hold {count} values, not {len(value)}")
        return value


def _is_positive_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_finite_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def shown(value: Any) -> str:
    """Return ``value`` as an error message shows it: containers by their kind only."""
    if isinstance(value, Mapping):
        return "a dict"
    if isinstance(value, (list, tuple)):
        return "a list with other content" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
