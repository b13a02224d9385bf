from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bevformer_lib.errors import StoreError
from bevformer_lib.store.cache import ObjectCache
from tests.store.conftest import OpenS3

KB = 1000


def add(cache: ObjectCache, number: int, size: int = KB) -> str:
    content = number.to_bytes(4, "big") * (size // 4)
    digest = hashlib.sha256(content).hexdigest()
    with cache.scratch() as folder:
        (folder / "file").write_bytes(content)
        cache.add(digest, folder / "file")
    return digest


def forget(cache: ObjectCache) -> None:
    """Let go of what was handed out."""
    for pin in (cache.root / "pins").glob("*/*"):
        pin.unlink()


def used_at(cache: ObjectCache, digest: str, seconds: float) -> None:
    os.utime(cache.root / "used" / digest, (seconds, seconds))


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 10 * KB)
    digests = [add(cache, number) for number in range(10)]
    assert cache.size() == 10 * KB
    for age, digest in enumerate(digests):
        used_at(cache, digest, 1000.0 + age)
    assert cache.get(digests[0]) is not None
    forget(cache)
    add(cache, 99)
    assert cache.size() <= 10 * KB
    assert cache.get(digests[0]) is not None
    assert cache.get(digests[1]) is None
    assert cache.get(digests[9]) is not None


def test_what_is_in_use_is_never_removed_and_is_let_go_at_the_end(tmp_path: Path) -> None:
    cache, other = ObjectCache(tmp_path, 4 * KB), ObjectCache(tmp_path, 4 * KB)
    held = [add(cache, number) for number in range(4)]
    for number in range(100, 108):
        add(other, number)
    assert all(cache.get(digest) is not None for digest in held)
    del cache
    gc.collect()
    add(other, 200)
    assert not any(other.get(digest) for digest in held)


def test_what_a_killed_process_used_is_let_go(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from bevformer_lib.store.cache import ObjectCache
cache = ObjectCache(Path({str(tmp_path)!r}), 4000)
for number in range(4):
    path = Path({str(tmp_path)!r}) / "file"
    path.write_bytes(bytes([number]) * 1000)
    cache.add(str(number) * 64, path)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    cache = ObjectCache(tmp_path, 4 * KB)
    assert cache.size() == 4 * KB
    add(cache, 7)
    assert cache.size() <= 4 * KB


def test_an_object_larger_than_the_cache_is_usable(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, KB)
    digest = add(cache, 1, 5 * KB)
    assert cache.get(digest) is not None


def test_several_processes_share_a_cache(open_s3: OpenS3, tmp_path: Path) -> None:
    store = open_s3("writer")
    digests = []
    for number in range(24):
        with store.scratch() as folder:
            (folder / "file").write_bytes(bytes([number]) * 10 * KB)
            digests.append(store.put_object(folder / "file").sha256)
    shared = tmp_path / "shared"
    program = f"""
import sys, random, hashlib
from pathlib import Path
from bevformer_lib.store.cache import ObjectCache
from bevformer_lib.store.s3 import S3Store
from bevformer_lib.store.s3_client import S3Credentials
endpoint, secret, seed = sys.argv[1:4]
digests = sys.argv[4:]
credentials = S3Credentials("test:tester", secret, region="us-east-1", endpoint_url=endpoint)
generator = random.Random(seed)
for _ in range(3):
    store = S3Store({store.bucket!r}, {store.prefix!r}, ObjectCache(Path({str(shared)!r}), 60_000), credentials)
    for digest in generator.sample(digests, 4):
        assert hashlib.sha256(store.get_object(digest).read_bytes()).hexdigest() == digest
"""
    credentials = store_credentials(open_s3)
    processes = [
        subprocess.Popen([sys.executable, "-c", program, *credentials, str(seed), *digests]) for seed in range(2)
    ]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert 0 < ObjectCache(shared, 60 * KB).size() <= 60 * KB + 2 * 6 * KB + 2 * 40 * KB
    assert list((shared / "scratch").iterdir()) == []


def store_credentials(open_s3: OpenS3) -> tuple[str, str]:
    from tests.support.s3_server import SECRET_KEY

    return open_s3()._client.meta.endpoint_url, SECRET_KEY


def test_a_hit_costs_no_request(open_s3: OpenS3) -> None:
    store = open_s3()
    with store.scratch() as folder:
        (folder / "file").write_bytes(b"content")
        digest = store.put_object(folder / "file").sha256
    store._client.meta.events.register("before-call.s3", lambda **_: pytest.fail("asked the server"))
    assert store.get_object(digest).read_bytes() == b"content"


def test_an_untouched_hit_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ObjectCache(tmp_path, 10 * KB)
    digest = add(cache, 1)
    time.sleep(0.2)
    assert cache.get(digest) is not None
    monkeypatch.setattr("bevformer_lib.store.digests.sha256_of_file", lambda path: pytest.fail("read again"))
    assert cache.get(digest) is not None


def test_a_cache_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"can't be used as a cache.*set BEVFORMER_CACHE"):
        ObjectCache(tmp_path / "file", KB)
