from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bevformer_lib.errors import OutputError, SourceError
from bevformer_lib.source.copy import copy_out
from bevformer_lib.source.open import fetch, resolve_source, source_digests


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "Szenen 場面"
    (root / "scene").mkdir(parents=True)
    (root / "scene" / "meta.json").write_text("{}")
    (root / "index.json").write_text("[1]")
    return root


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_folder_is_a_source(folder: Path) -> None:
    source = resolve_source(folder)
    assert (source.kind, source.is_folder, source.num_bytes) == ("folder", True, 5)
    assert [file.path for file in source.files] == ["index.json", "scene/meta.json"]
    assert source == resolve_source(source.uri)
    path = fetch(source)
    assert path == folder
    assert source_digests(source, path) == {"index.json": sha256("[1]"), "scene/meta.json": sha256("{}")}


def test_a_file_is_a_source(folder: Path) -> None:
    source = resolve_source(str(folder / "index.json"))
    assert not source.is_folder
    assert source_digests(source, fetch(source)) == {"index.json": sha256("[1]")}


def test_changed_content_is_a_new_input(folder: Path) -> None:
    source = resolve_source(folder)
    before = source_digests(source, folder)
    (folder / "index.json").write_text("[2]")
    assert source_digests(source, folder) == {**before, "index.json": sha256("[2]")}


def test_what_is_missing_is_told_with_what_is_there(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"absent/x: there is no such file or folder; .* holds: index\.json, scene/"):
        resolve_source(folder / "absent" / "x")
    source = resolve_source(folder / "index.json")
    (folder / "index.json").unlink()
    with pytest.raises(SourceError, match="was removed while it was in use"):
        fetch(source)


def test_copies_are_files_and_never_overwrite(folder: Path, tmp_path: Path) -> None:
    (folder / "link.json").symlink_to(folder / "index.json")
    copied = copy_out(folder, tmp_path / "out" / "copy")
    assert (copied / "link.json").read_text() == "[1]"
    assert not (copied / "link.json").is_symlink()
    with pytest.raises(OutputError, match="is there already"):
        copy_out(folder, copied)
    assert copy_out(folder / "index.json", tmp_path / "one.json").read_text() == "[1]"
