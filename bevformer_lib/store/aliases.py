"""Names that move: `latest` is one build today and another tomorrow, and what it was before is kept.

Each move is a record of its own, ``aliases/<name>/00000001`` and so on; the highest number holds. Records are written
only where none is, so of two writers who read the same number one wins: compare and swap with nothing but conditional
creation, which every store has, and which no server needs `If-Match` for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from bevformer_lib.errors import StoreError
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.store.base import ALIASES, Store

_DIGITS: Final = 8


@dataclass(frozen=True)
class AliasEntry:
    """What an alias was set to at one time.

    Attributes:
        number: counted from 1.
        target: what it names, usually a build's id.
        set_at: UTC, ISO 8601.
        note: the reason given when it was set.
    """

    number: int
    target: str
    set_at: str
    note: str = ""


class AliasMovedError(StoreError):
    """Another writer moved the alias, so that a move which expected something else did not happen."""


@dataclass(frozen=True)
class Expected:
    """What an alias must name for a move to happen.

    Attributes:
        target: the build, or ``None`` if the alias must not exist yet.
    """

    target: str | None


def set_alias(store: Store, name: str, target: str, *, expected: Expected | None = None, note: str = "") -> AliasEntry:
    """Let an alias name ``target`` from now on; no move is recorded if it does already.

    Args:
        store: keeps the alias.
        name: of the alias.
        target: what it is to name, usually a build's id.
        expected: move only from this; whatever it names now, if left out.
        note: why, to be kept with the move.

    Raises:
        AliasMovedError: the alias names something else than expected.
        StoreError: the name can't be one.
    """
    _check_name(name)
    while True:
        current = get_alias(store, name)
        if expected is not None and (None if current is None else current.target) != expected.target:
            raise AliasMovedError(
                f"{store.uri}: alias {name} names {current.target if current else 'nothing'} and not "
                f"{expected.target or 'nothing'}, as expected; another build has moved it: look, then decide"
            )
        if current is not None and current.target == target:
            return current
        number = 1 if current is None else current.number + 1
        entry = AliasEntry(number, target, datetime.now(timezone.utc).isoformat(timespec="milliseconds"), note)
        if store.put_record(_kind(name), f"{number:0{_DIGITS}d}", to_plain(entry)):
            return entry


def get_alias(store: Store, name: str) -> AliasEntry | None:
    """Return what an alias names now, or ``None`` if it was never set."""
    keys = store.list_records(_kind(name))
    return _read(store, name, keys[-1]) if keys else None


def alias_history(store: Store, name: str) -> tuple[AliasEntry, ...]:
    """Return everything that an alias named, the oldest first."""
    return tuple(_read(store, name, key) for key in store.list_records(_kind(name)))


def list_aliases(store: Store) -> tuple[str, ...]:
    """Return the sorted names of all aliases."""
    prefix = f"{ALIASES}/"
    return tuple(kind.removeprefix(prefix) for kind in store.list_kinds() if kind.startswith(prefix))


def _read(store: Store, name: str, key: str) -> AliasEntry:
    content = store.get_record(_kind(name), key) or {}
    try:
        return from_plain(AliasEntry, {**content, "number": int(key)})
    except ValueError as error:
        raise StoreError(
            f"{store.uri}: entry {key} of alias {name} {error}; delete that record and set the alias"
        ) from None


def _kind(name: str) -> str:
    return f"{ALIASES}/{name}"


def _check_name(name: str) -> None:
    if not name or "/" in name or name != name.strip():
        raise StoreError(f"{name!r}: not a name for an alias; leave out slashes and spaces at the ends")
