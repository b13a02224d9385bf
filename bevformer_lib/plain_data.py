"""Dataclasses as JSON data and back: what is read is held against the declared types, and nothing is converted."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

_SHOWN = 5

Kind = TypeVar("Kind")


def to_plain(value: object) -> Any:
    """Return a dataclass, whatever it holds, as JSON data."""
    kind: Any = type(value)  # types are hashable, which mypy does not see
    return _adapter(kind).dump_python(value, mode="json")


def from_plain(kind: type[Kind], content: object) -> Kind:
    """Return what :func:`to_plain` was given; keys that are not the type's are passed over.

    Raises:
        ValueError: what is missing or of another type, as the end of a sentence that starts with the content's name.
    """
    from pydantic import ValidationError
    from pydantic_core import to_json

    wanted: Any = kind
    try:
        read: Kind = _adapter(wanted).validate_json(to_json(content), strict=True)
        return read
    except ValidationError as error:
        raise ValueError(f"can't be read: {said(error)}") from None


def said(error: ValidationError) -> str:
    """Return what is wrong and where, for people."""
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:_SHOWN])


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
