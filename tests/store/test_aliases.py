from __future__ import annotations

import threading

import pytest

from bevformer_lib.errors import StoreError
from bevformer_lib.store.aliases import (
    AliasMovedError,
    Expected,
    alias_history,
    get_alias,
    list_aliases,
    set_alias,
)
from bevformer_lib.store.base import Store


def target(store: Store, name: str) -> str | None:
    entry = get_alias(store, name)
    return None if entry is None else entry.target


def test_an_alias_moves_and_remembers(any_store: Store) -> None:
    assert get_alias(any_store, "latest") is None
    for build in ("a", "b", "b", "a"):
        set_alias(any_store, "latest", build)
    set_alias(any_store, "größte Probe", "b")
    assert target(any_store, "latest") == "a"
    assert [(entry.number, entry.target) for entry in alias_history(any_store, "latest")] == [
        (1, "a"),
        (2, "b"),
        (3, "a"),
    ]
    assert list_aliases(any_store) == ("größte Probe", "latest")


def test_compare_and_swap(any_store: Store) -> None:
    set_alias(any_store, "latest", "a", expected=Expected(None))
    with pytest.raises(AliasMovedError, match="alias latest names a and not nothing, as expected"):
        set_alias(any_store, "latest", "b", expected=Expected(None))
    set_alias(any_store, "latest", "b", expected=Expected("a"))
    with pytest.raises(AliasMovedError, match="names b and not a"):
        set_alias(any_store, "latest", "c", expected=Expected("a"))
    assert target(any_store, "latest") == "b"


def test_of_racing_swaps_one_wins_and_of_racing_moves_none_is_lost(any_store: Store) -> None:
    set_alias(any_store, "latest", "start")
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def swap(number: int) -> None:
        barrier.wait()
        try:
            set_alias(any_store, "latest", f"swap {number}", expected=Expected("start"))
            outcomes.append(f"swap {number}")
        except AliasMovedError:
            pass
        barrier.wait()
        set_alias(any_store, "latest", f"move {number}")

    threads = [threading.Thread(target=swap, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = [entry.target for entry in alias_history(any_store, "latest")]
    assert len(outcomes) == 1
    assert history[:2] == ["start", *outcomes]
    assert sorted(history[2:]) == [f"move {number}" for number in range(8)]


@pytest.mark.parametrize("name", ["", "a/b", " a"])
def test_names_that_cannot_be(any_store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="not a name for an alias"):
        set_alias(any_store, name, "a")


def test_a_damaged_entry_is_named(any_store: Store) -> None:
    any_store.put_record("aliases/latest", "00000001", {"tarket": "a"})
    with pytest.raises(StoreError, match="entry 00000001 of alias latest can't be read"):
        get_alias(any_store, "latest")
