"""One gzip stream, compressed on all cores, whose bytes don't depend on how many there are.

The input is cut into blocks of a fixed size. Each is deflated on its own (zlib lets go of the interpreter
lock), with the 32 KiB before it as the dictionary, and ended with a sync flush, so that the pieces join into a
single deflate stream (RFC 1951) in a single gzip member (RFC 1952): the way of Mark Adler's pigz. Every gzip
reader takes it.

The header carries no time and no name. The compressed bytes are those of the zlib that Python is built with:
another implementation (zlib-ng) may pack the same content into other, equally valid bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO, Final

BLOCK_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 1 << 15
_RAW_DEFLATE: Final = -zlib.MAX_WBITS
_MEMORY_LEVEL: Final = 8
_HEADER: Final = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
"""Magic, deflate, no flags, no time, no extra flags, unknown operating system."""
_FINAL_BLOCK: Final = b"\x03\x00"
"""An empty deflate block that is marked as the last one."""
_BLOCKS_IN_FLIGHT_PER_THREAD: Final = 2


class ParallelGzipWriter:
    """A binary file object to write to (``tarfile`` takes it); memory stays at a few blocks per thread."""

    def __init__(self, target: BinaryIO, *, level: int, threads: int) -> None:
        """Begin the stream.

        Args:
            target: where the compressed bytes go; not closed here.
            level: deflate level, 1 to 9.
            threads: blocks deflated at the same time.
        """
        self._target = target
        self._level = level
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="gzip")
        self._max_in_flight = threads * _BLOCKS_IN_FLIGHT_PER_THREAD
        self._in_flight: deque[Future[bytes]] = deque()
        self._pending = bytearray()
        self._window = b""
        self._crc = 0
        self._size = 0
        target.write(_HEADER)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes to the stream; return their number."""
        view = memoryview(data).cast("B")
        self._crc = zlib.crc32(view, self._crc)
        self._size += len(view)
        taken = 0
        while taken < len(view):
            piece = view[taken : taken + BLOCK_BYTES - len(self._pending)]
            self._pending += piece
            taken += len(piece)
            if len(self._pending) == BLOCK_BYTES:
                self._submit()
        return len(view)

    def tell(self) -> int:
        """Return the number of bytes written so far, before compression."""
        return self._size

    def close(self) -> None:
        """End the stream: everything is in ``target`` afterwards."""
        if self._pending:
            self._submit()
        while self._in_flight:
            self._target.write(self._in_flight.popleft().result())
        self._target.write(_FINAL_BLOCK + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
        self._pool.shutdown()

    def __enter__(self) -> ParallelGzipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        """Hand the pending block to the pool, once there is room."""
        if len(self._in_flight) == self._max_in_flight:
            self._target.write(self._in_flight.popleft().result())
        block = bytes(self._pending)
        self._in_flight.append(self._pool.submit(_deflate, block, self._window, self._level))
        self._window = block[-_WINDOW_BYTES:]
        self._pending.clear()


def _deflate(block: bytes, dictionary: bytes, level: int) -> bytes:
    """Deflate a block that follows ``dictionary`` and end it on a byte boundary."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, _RAW_DEFLATE, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return deflater.compress(block) + deflater.flush(zlib.Z_SYNC_FLUSH)
