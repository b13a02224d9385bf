from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.errors import StoreError
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.open import cache_folder, open_store


def test_folders_by_path_and_by_uri(tmp_path: Path) -> None:
    root = tmp_path / "mein Lager"
    opened = open_store(root)
    assert isinstance(opened, FolderStore)
    assert opened.put_record("export", "k", {})
    for address in (str(root), root.as_uri(), f"file://localhost{root.as_uri().removeprefix('file://')}"):
        assert open_store(address, must_exist=True).list_records("export") == ("k",)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gs://bucket/x", r"gs://\.\.\.: not a store; give a folder"),
        ("s3:///x", "names no bucket"),
        ("file://host/x", "names another machine"),
        ("https://key:secret@host/x", r"^https://\.\.\.: not a store"),
    ],
)
def test_what_is_no_address(address: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        open_store(address)


def test_a_folder_that_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="absent: not a store"):
        open_store(tmp_path / "absent", must_exist=True)
    assert not (tmp_path / "absent").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "synthetic-0000").mkdir()
    with pytest.raises(StoreError, match="holds other files and no store; choose an empty folder"):
        open_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic-0000"]


def test_an_empty_disk_and_a_store_that_was_begun_are_taken(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".hidden").touch()
    open_store(tmp_path)
    (tmp_path / "records").rmdir()
    assert open_store(tmp_path).list_kinds() == ()


@pytest.mark.parametrize("size", ["much", "0", "-1", "nan"])
def test_a_cache_size_that_is_none(size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path))
    monkeypatch.setenv("BEVFORMER_CACHE_GB", size)
    with pytest.raises(StoreError, match=f"BEVFORMER_CACHE_GB={size}: not a size"):
        open_store("s3://bucket")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEVFORMER_CACHE", "~/x")
    assert cache_folder() == Path.home() / "x"
    monkeypatch.delenv("BEVFORMER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_folder() == Path("/var/cache/bevformer")
