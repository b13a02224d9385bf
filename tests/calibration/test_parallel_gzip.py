from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.calibration.parallel_gzip import BLOCK_BYTES, ParallelGzipWriter


def _content(size: int) -> bytes:
    random = np.random.RandomState(size % 1000)
    return random.randint(0, 16, size, dtype=np.uint8).tobytes()


def _compress(content: bytes, *, threads: int, piece_bytes: int) -> bytes:
    target = io.BytesIO()
    with ParallelGzipWriter(target, level=1, threads=threads) as writer:
        for begin in range(0, len(content), piece_bytes):
            writer.write(content[begin : begin + piece_bytes])
        assert writer.tell() == len(content)
    return target.getvalue()


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17])
def test_gzip_reads_it_back(size: int) -> None:
    content = _content(size)
    assert gzip.decompress(_compress(content, threads=2, piece_bytes=300_007)) == content


def test_bytes_do_not_depend_on_threads_nor_on_the_pieces_written() -> None:
    content = _content(4 * BLOCK_BYTES + 5)
    expected = _compress(content, threads=1, piece_bytes=len(content))
    for threads, piece_bytes in ((2, 10_240), (5, 999_983), (3, BLOCK_BYTES)):
        assert _compress(content, threads=threads, piece_bytes=piece_bytes) == expected


def test_blocks_share_a_window() -> None:
    repeated = _content(1 << 14) * (4 * BLOCK_BYTES // (1 << 14))
    assert len(_compress(repeated, threads=2, piece_bytes=1 << 16)) < len(gzip.compress(repeated, 1)) * 1.1


def test_it_is_one_member_without_a_time() -> None:
    compressed = _compress(_content(2 * BLOCK_BYTES), threads=2, piece_bytes=BLOCK_BYTES)
    assert compressed[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
    decompressor = zlib.decompressobj(31)
    decompressor.decompress(compressed)
    assert decompressor.eof
    assert decompressor.unused_data == b""


@pytest.mark.skipif(shutil.which("gzip") is None or shutil.which("tar") is None, reason="needs gzip and tar")
def test_the_plain_tools_read_it(tmp_path: Path) -> None:
    path, content = tmp_path / "ärchive x.tar.gz", _content(2 * BLOCK_BYTES + 3)
    with (
        path.open("wb") as file,
        ParallelGzipWriter(file, level=1, threads=2) as writer,
        tarfile.open(fileobj=writer, mode="w", format=tarfile.USTAR_FORMAT) as tar,  # type: ignore[call-overload]
    ):
        member = tarfile.TarInfo("1.npy")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    subprocess.run(["gzip", "-t", path], check=True)
    subprocess.run(["tar", "xzf", path, "-C", tmp_path], check=True)
    assert (tmp_path / "1.npy").read_bytes() == content
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["1.npy"]


def test_an_error_inside_the_block_leaves_no_thread_and_no_end_of_stream() -> None:
    target, before = io.BytesIO(), threading.active_count()
    with pytest.raises(RuntimeError, match="stop"), ParallelGzipWriter(target, level=1, threads=2) as writer:
        writer.write(_content(3 * BLOCK_BYTES))
        raise RuntimeError("stop")
    assert threading.active_count() == before
    with pytest.raises(EOFError):
        gzip.decompress(target.getvalue())
