"""What every store promises, on a folder and on a real S3 server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.errors import StoreError
from bevformer_lib.store.base import Store
from bevformer_lib.store.run import find_step, run_step
from bevformer_lib.store.step import Artifact, Step


def put(store: Store, content: bytes) -> str:
    with store.scratch() as folder:
        path = folder / "file"
        path.write_bytes(content)
        return store.put_object(path).sha256


def test_an_object_is_kept_under_its_digest(any_store: Store) -> None:
    digest = put(any_store, b"content")
    assert digest == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    assert digest in [entry.sha256 for entry in any_store.list_objects()]
    path = any_store.get_object(digest)
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o222 == 0
    any_store.check_object(digest, 7, read=True)


def test_what_is_missing_is_named(any_store: Store) -> None:
    absent = "abcdef" + "0" * 58
    assert absent not in [entry.sha256 for entry in any_store.list_objects()]
    with pytest.raises(StoreError, match=r"abcdef.*missing.*build again"):
        any_store.get_object(absent)
    with pytest.raises(StoreError, match=r"abcdef.*missing.*build again"):
        any_store.check_object(absent)


def test_objects_are_listed_and_removed(any_store: Store) -> None:
    sizes = {put(any_store, content): len(content) for content in (b"a", b"bb", b"", b"a")}
    assert {entry.sha256: entry.size for entry in any_store.list_objects()} == sizes
    gone = put(any_store, b"bb")
    any_store.remove_object(gone)
    any_store.remove_object(gone)
    assert gone not in [entry.sha256 for entry in any_store.list_objects()]
    assert len(list(any_store.list_objects())) == 2


def test_records_are_put_once(any_store: Store) -> None:
    assert any_store.put_record("evaluate/Szene 1", "k", {"value": 1, "name": "場面"})
    assert not any_store.put_record("evaluate/Szene 1", "k", {"value": 2})
    assert any_store.get_record("evaluate/Szene 1", "k") == {"value": 1, "name": "場面"}
    any_store.refresh_record("evaluate/Szene 1", "k")
    any_store.refresh_record("evaluate", "absent")


def test_of_sixteen_racing_writers_exactly_one_wins(any_store: Store) -> None:
    for name in ("first", "second", "third"):
        wins: list[int] = []
        barrier = threading.Barrier(16)

        def write(number: int, name: str = name, wins: list[int] = wins, barrier: Any = barrier) -> None:
            barrier.wait()
            if any_store.put_record("race", name, {"value": number}):
                wins.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1
        assert any_store.get_record("race", name) == {"value": wins[0]}


def test_records_are_listed_by_kind(any_store: Store) -> None:
    for kind, key in [("export", "b"), ("export", "a"), ("collect/50% .. 場面", "c"), ("collect/.hidden", "../d.json")]:
        any_store.put_record(kind, key, {})

    assert any_store.list_records("export") == ("a", "b")
    assert any_store.list_records("collect/.hidden") == ("../d.json",)
    assert any_store.list_records("collect") == ()
    assert any_store.list_kinds() == ("collect/.hidden", "collect/50% .. 場面", "export")
    assert set(any_store.record_times("export")) == {"a", "b"}


def test_a_removed_record_is_gone(any_store: Store) -> None:
    any_store.put_record("export", "k", {})
    any_store.remove_record("export", "k")
    any_store.remove_record("export", "k")
    assert any_store.get_record("export", "k") is None


def make_step(**changes: Any) -> Step:
    return Step(**({"name": "pack", "version": 1, "inputs": {"model": Artifact("m.onnx", "a" * 64, 3)}} | changes))


def write_files(folder: Path) -> Mapping[str, Any]:
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"content {number}")
    return {"files": 20}


def test_a_step_is_done_once(any_store: Store) -> None:
    first = run_step(any_store, make_step(), write_files)
    again = run_step(any_store, make_step(), lambda folder: pytest.fail("done again"))
    assert (first.ran, again.ran, again.record) == (True, False, first.record)
    assert any_store.get_object(again.record.output("7.txt").sha256).read_text() == "content 7"


def test_a_lost_object_is_remade(any_store: Store) -> None:
    lost = run_step(any_store, make_step(), write_files).record.output("7.txt").sha256
    any_store.remove_object(lost)
    assert find_step(any_store, make_step()) is None
    result = run_step(any_store, make_step(), write_files)
    assert result.ran
    assert f"{lost}: the object is missing" in result.reason
    assert lost in [entry.sha256 for entry in any_store.list_objects()]


def test_scratch_is_removed(any_store: Store) -> None:
    with any_store.scratch() as folder:
        (folder / "half").write_text("half")
    assert not folder.exists()
    assert any_store.remove_abandoned_scratch() == 0
