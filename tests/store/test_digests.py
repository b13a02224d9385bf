from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bevformer_lib.files import sha256_of_file
from bevformer_lib.store import digests
from bevformer_lib.store.digests import DigestCache


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    seen: list[Path] = []

    def counted(path: Path) -> str:
        seen.append(path)
        return sha256_of_file(path)

    monkeypatch.setattr(digests, "sha256_of_file", counted)
    return seen


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    time.sleep(0.15)
    return path


def test_an_untouched_file_is_read_once(tmp_path: Path, settled: Path, reads: list[Path]) -> None:
    first = DigestCache(tmp_path / "cache.sqlite").digest(settled)
    again = DigestCache(tmp_path / "cache.sqlite").digest(settled)
    assert first == again == sha256_of_file(settled)
    assert reads == [settled]


def test_a_file_written_just_now_is_not_remembered(tmp_path: Path, reads: list[Path]) -> None:
    cache = DigestCache(tmp_path / "cache.sqlite")
    path = tmp_path / "fresh"
    path.write_bytes(b"content")
    cache.digest(path)
    cache.digest(path)
    assert len(reads) == 2


def test_a_write_that_hides_its_time_is_noticed(tmp_path: Path, settled: Path) -> None:
    cache = DigestCache(tmp_path / "cache.sqlite")
    before, times = cache.digest(settled), settled.stat()
    settled.write_bytes(b"CONTENT")
    os.utime(settled, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert cache.digest(settled) != before


def test_distrust_reads(tmp_path: Path, settled: Path, reads: list[Path]) -> None:
    cache = DigestCache(tmp_path / "cache.sqlite")
    cache.digest(settled)
    cache.digest(settled, trust=False)
    assert len(reads) == 2


def test_a_damaged_cache_costs_only_reading(tmp_path: Path, settled: Path) -> None:
    damaged = tmp_path / "cache.sqlite"
    damaged.write_bytes(b"not a database" * 1000)
    assert DigestCache(damaged).digest(settled) == sha256_of_file(settled)
