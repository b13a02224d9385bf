"""What the tests of configs share."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bevformer_lib.config.python_config import read_python_config

FIXTURES = Path(__file__).parent / "fixtures"


@cache
def _tiny() -> dict[str, Any]:
    return read_python_config(FIXTURES / "bevformer" / "tiny.py")


def tiny_content() -> dict[str, Any]:
    """Return the content of the fixture `bevformer/tiny.py`, free to be changed: nothing in it is shared."""

    def unshared(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: unshared(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [unshared(item) for item in value]
        return copy.copy(value)

    return unshared(_tiny())


def at(content: Any, keys: Sequence[str | int]) -> Any:
    """Return what lies under a path of keys and indices."""
    for key in keys:
        content = content[key]
    return content
