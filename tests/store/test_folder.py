from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from bevformer_lib.errors import DamagedRecordError, StoreError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.store.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "mein Lager 倉庫")


def put(store: FolderStore, content: bytes) -> str:
    with store.scratch() as folder:
        path = folder / "file"
        path.write_bytes(content)
        return store.put_object(path).sha256


def files_under(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_an_object_is_kept_under_its_digest(store: FolderStore, tmp_path: Path) -> None:
    path = tmp_path / "a b.bin"
    path.write_bytes(b"content")
    digest = sha256_of_file(path)

    stored = store.put_object(path)

    assert (stored.sha256, stored.size) == (digest, 7)
    assert digest in [entry.sha256 for entry in store.list_objects()]
    assert store.get_object(digest).read_bytes() == b"content"


def test_objects_are_read_only(store: FolderStore) -> None:
    assert store.get_object(put(store, b"content")).stat().st_mode & 0o222 == 0


def test_a_missing_object_is_named(store: FolderStore) -> None:
    with pytest.raises(StoreError, match=r"abcdef.*missing.*build again"):
        store.get_object("abcdef" + "0" * 58)


@pytest.mark.parametrize("trusted_before", [False, True])
def test_a_corrupted_object_is_noticed(store: FolderStore, trusted_before: bool) -> None:
    digest = put(store, b"content")
    if trusted_before:
        store.get_object(digest)
    path = store.get_object(digest)
    times = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    with pytest.raises(StoreError, match=f"{digest}: the object is corrupted"):
        store.get_object(digest)


def test_putting_the_content_again_heals_a_corrupted_object(store: FolderStore) -> None:
    digest = put(store, b"content")
    path = store.get_object(digest)
    path.chmod(0o644)
    path.write_bytes(b"rotten")

    assert put(store, b"content") == digest
    assert store.get_object(digest).read_bytes() == b"content"


def test_an_intact_object_is_not_replaced(store: FolderStore) -> None:
    before = store.get_object(put(store, b"content")).stat().st_ino
    assert store.get_object(put(store, b"content")).stat().st_ino == before


def test_a_full_disk_names_the_file_and_leaves_nothing(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "big.onnx"
    path.write_bytes(b"content")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"big\.onnx: No space left on device; free some space"):
        store.put_object(path)
    assert files_under(store.root / "objects") == set()
    assert files_under(store.root / "scratch") == set()


def test_records_are_put_once(store: FolderStore) -> None:
    assert store.put_record("evaluate/Szene 1", "k", {"value": 1})
    assert not store.put_record("evaluate/Szene 1", "k", {"value": 2})
    assert store.get_record("evaluate/Szene 1", "k") == {"value": 1}


def test_of_racing_writers_exactly_one_wins(store: FolderStore) -> None:
    wins: list[int] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        if store.put_record("race", "k", {"value": number}):
            wins.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.get_record("race", "k") == {"value": wins[0]}


def test_records_are_listed_by_kind(store: FolderStore) -> None:
    for kind, key in [("export", "b"), ("export", "a"), ("collect/50% .. 場面", "c"), ("collect/.hidden", "d")]:
        store.put_record(kind, key, {})

    assert store.list_records("export") == ("a", "b")
    assert store.list_records("nothing") == ()
    assert store.list_kinds() == ("collect/.hidden", "collect/50% .. 場面", "export")
    assert not {path.name for path in (store.root / "records").rglob("*") if path.name.startswith(".")}


def test_no_kind_leaves_the_store(store: FolderStore) -> None:
    store.put_record("../../outside", "../k", {})
    assert store.list_records("../../outside") == ("../k",)
    assert not (store.root.parent / "outside").exists()


def test_a_removed_record_is_gone(store: FolderStore) -> None:
    store.put_record("export", "k", {})
    store.remove_record("export", "k")
    store.remove_record("export", "k")
    assert store.get_record("export", "k") is None


def test_a_damaged_record_is_named(store: FolderStore) -> None:
    store.put_record("export", "k", {"a": 1})
    (store.root / "records" / "export" / "k.json").write_text('{"a"')
    with pytest.raises(StoreError, match=r"k\.json: the record is damaged \(not JSON"):
        store.get_record("export", "k")


def test_the_uri_is_valid(store: FolderStore) -> None:
    assert store.uri.startswith("file:///")
    assert " " not in store.uri


def test_a_store_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*can't be used as a store"):
        FolderStore(tmp_path / "file")


@pytest.mark.parametrize("position", range(0, 300, 7))
def test_every_changed_byte_of_a_record_is_found(store: FolderStore, position: int) -> None:
    content = {"sha256": "a" * 64, "size": 7, "facts": ["one", "two"]}
    store.put_record("export", "k", content)
    path = store.root / "records" / "export" / "k.json"
    raw = bytearray(path.read_bytes())
    raw[position % len(raw)] ^= 0x01
    path.write_bytes(bytes(raw))
    try:
        assert store.get_record("export", "k") == content  # white space
    except DamagedRecordError as error:
        assert "k.json: the record is damaged" in str(error)


def test_a_record_under_another_name_is_damaged(store: FolderStore) -> None:
    store.put_record("export", "k", {"a": 1})
    folder = store.root / "records" / "export"
    (folder / "k.json").rename(folder / "other.json")
    with pytest.raises(DamagedRecordError, match="its digest is another"):
        store.get_record("export", "other")
