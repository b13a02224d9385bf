"""An MCAP file as the messages it holds, one after the other, and any of them again by its place.

No index is asked for: files are read from the front, so those without one are read like all others. What is held in
memory at a time is a record, and a few chunks that messages were lately asked for from.

Source: the MCAP specification, https://mcap.dev/spec.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from bevformer_lib.errors import RecordingError
from bevformer_lib.recordings.packages import import_for_recordings

LARGEST_RECORD: Final = 256 << 20
"""Bytes of a record, and of a chunk that was unpacked; writers make chunks of 1 to 4 MB, an image of 4K has 25 MB."""
_KEPT_CHUNKS: Final = 4
_MAGIC: Final = b"\x89MCAP0\r\n"
_HEADER: Final = struct.Struct("<BQ")
_MESSAGE: Final = struct.Struct("<HIQQ")
_SCHEMA, _CHANNEL, _RECORDED, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_RECOVER: Final = "'mcap recover IN -o OUT' (https://mcap.dev/guides/cli) saves what is whole of it"


class Place(NamedTuple):
    """Where a message stands.

    Attributes:
        record: offset of its record in the file, or of the chunk that holds it.
        inner: offset of its record in the unpacked chunk; -1: it stands in the file itself.
    """

    record: int
    inner: int


@dataclass(frozen=True)
class Channel:
    """What is recorded under a topic.

    Attributes:
        topic: its name.
        encoding: of the messages: ``cdr``, ``protobuf``, ``json``.
        schema: the type of the messages, ``mcap.records.Schema``; ``None`` where the file names none.
    """

    topic: str
    encoding: str
    schema: Any


@dataclass(frozen=True)
class Recorded:
    """A message.

    Attributes:
        channel: what it belongs to.
        log_time_ns: when it was recorded.
        data: its content, encoded.
        place: where it stands.
        file_offset: where the file is read next, for progress.
    """

    channel: Channel
    log_time_ns: int
    data: bytes
    place: Place
    file_offset: int


def recording_file(path: Path) -> Path:
    """Return the file of a recording: itself, or the only one in a folder, as ROS 2 records.

    Raises:
        RecordingError: there is none, or several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.mcap"))
    if len(found) != 1:
        raise RecordingError(f"{path}: is a folder with {len(found)} .mcap files; name one of them")
    return found[0]


def recorded_messages(path: Path) -> Iterator[Recorded]:
    """Yield all messages in the order in which they stand in the file.

    Raises:
        MissingPackageError: the packages for recordings are not installed.
        RecordingError: the file is no MCAP file, cut off or damaged.
    """
    records = import_for_recordings("mcap.records")
    stream_of = import_for_recordings("mcap.data_stream").ReadDataStream
    schemas: dict[int, Any] = {}
    channels: dict[int, Channel] = {}

    def told(opcode: int, body: bytes) -> None:
        """Keep a schema or a channel."""
        if opcode == _SCHEMA:
            schema = records.Schema.read(stream_of(BytesIO(body)))
            schemas[schema.id] = schema
        elif opcode == _CHANNEL:
            channel = records.Channel.read(stream_of(BytesIO(body)))
            if channel.id not in channels:  # every chunk repeats those that it needs
                channels[channel.id] = Channel(channel.topic, channel.message_encoding, schemas.get(channel.schema_id))

    if not path.is_file():
        raise RecordingError(f"{path}: is no file; name a recording, an .mcap file")
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(len(_MAGIC)) != _MAGIC:
            raise RecordingError(f"{path}: is no MCAP file; name a recording in that format")
        while True:
            offset = file.tell()
            try:
                opcode, length = _header(file, path, size)
                if opcode == _DATA_END:
                    return
                if opcode not in (_SCHEMA, _CHANNEL, _RECORDED, _CHUNK):
                    file.seek(length, 1)
                    continue
                body = file.read(length)
                inside = _unpacked(body) if opcode == _CHUNK else None
                if inside is None:
                    parts: Iterator[tuple[int, int, bytes]] = iter([(-1, opcode, body)])
                else:
                    parts = _inner_records(inside)
                for inner, kind, content in parts:
                    if kind == _RECORDED:
                        channel_id, _, log_time_ns, _ = _MESSAGE.unpack_from(content)
                        place, data = Place(offset, inner), content[_MESSAGE.size :]
                        yield Recorded(channels[channel_id], log_time_ns, data, place, file.tell())
                    else:
                        told(kind, content)
            except (ValueError, KeyError, struct.error, import_for_recordings("mcap.exceptions").McapError) as error:
                raise RecordingError(f"{path}: is damaged at byte {offset:,} ({_said(error)}); {_RECOVER}") from error


class MessageReader:
    """Reads messages again, from any thread; keeps the chunks that were lately asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def data(self, place: Place) -> bytes:
        """Return the content of the message at a place.

        Raises:
            RecordingError: the file can't be read, or is not as it was.
        """
        with self._lock:
            record = self._record(place)
        try:
            if place.inner >= 0:
                opcode, length = _HEADER.unpack_from(record, place.inner)
                record = record[place.inner + _HEADER.size : place.inner + _HEADER.size + length]
                if opcode != _RECORDED or len(record) != length:
                    raise ValueError("no message stands there")
            return record[_MESSAGE.size :]
        except (ValueError, struct.error) as error:
            raise self._changed(error) from error

    def _record(self, place: Place) -> bytes:
        """Return a message's record, or the unpacked chunk that holds it."""
        if place.record in self._chunks:
            self._chunks.move_to_end(place.record)
            return self._chunks[place.record]
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(place.record)
                opcode, length = _header(file, self._path, size)
                if opcode != (_CHUNK if place.inner >= 0 else _RECORDED):
                    raise ValueError("another record stands there")
                body = file.read(length)
            if place.inner < 0:
                return body
            self._chunks[place.record] = chunk = _unpacked(body)
        except (OSError, ValueError, struct.error) as error:
            raise self._changed(error) from error
        while len(self._chunks) > _KEPT_CHUNKS:
            self._chunks.popitem(last=False)
        return chunk

    def _changed(self, error: Exception) -> RecordingError:
        return RecordingError(f"{self._path}: is not as it was when it was checked ({_said(error)}); run again")


def _header(file: IO[bytes], path: Path, size: int) -> tuple[int, int]:
    """Return the opcode and the length of the record that begins here."""
    offset = file.tell()
    header = file.read(_HEADER.size)
    opcode, length = _HEADER.unpack(header) if len(header) == _HEADER.size else (0, 0)
    if len(header) < _HEADER.size or length > size - file.tell():
        raise RecordingError(f"{path}: is cut off: it ends in the record that begins at byte {offset:,}; {_RECOVER}")
    if opcode in (_SCHEMA, _CHANNEL, _RECORDED, _CHUNK) and length > LARGEST_RECORD:
        raise RecordingError(
            f"{path}: holds a record of {length:,} bytes at byte {offset:,}; {LARGEST_RECORD:,} is the most that is "
            "read. Record with smaller chunks"
        )
    return opcode, length


def _inner_records(chunk: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (offset, opcode, content) of the records that a chunk holds."""
    offset = 0
    while offset < len(chunk):
        opcode, length = _HEADER.unpack_from(chunk, offset)
        content = chunk[offset + _HEADER.size : offset + _HEADER.size + length]
        if len(content) != length:
            raise ValueError("a record of the chunk goes on beyond its end")
        yield offset, opcode, content
        offset += _HEADER.size + length


def _unpacked(body: bytes) -> bytes:
    """Return the records that a chunk holds.

    Raises:
        ValueError: it is damaged, larger than is read, or packed in a way that is not known.
    """
    size, checksum, name_length = struct.unpack_from("<QII", body, 16)
    start = 32 + name_length + 8
    packing, packed = body[32 : 32 + name_length].decode(), body[start:]
    if size > LARGEST_RECORD:
        raise ValueError(f"a chunk of {size:,} bytes unpacked; {LARGEST_RECORD:,} is the most that is read")
    if struct.unpack_from("<Q", body, start - 8)[0] != len(packed):
        raise ValueError("a chunk has another length than it says")
    if packing == "zstd":
        zstandard = import_for_recordings("zstandard")
        try:
            with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
                chunk = bytes(reader.read(size + 1))
        except zstandard.ZstdError as error:
            raise ValueError(f"a chunk can't be unpacked: {error}") from error
    elif packing == "lz4":
        try:
            chunk = import_for_recordings("lz4.frame").LZ4FrameDecompressor().decompress(packed, max_length=size + 1)
        except RuntimeError as error:
            raise ValueError(f"a chunk can't be unpacked: {error}") from error
    elif packing:
        raise ValueError(f"a chunk is packed with {packing!r:.40}; zstd, lz4 and none are known")
    else:
        chunk = packed
    if len(chunk) != size:
        raise ValueError(f"a chunk has not the {size:,} bytes that it says")
    if checksum and zlib.crc32(chunk) != checksum:
        raise ValueError("the checksum of a chunk is wrong")
    return chunk


def _said(error: Exception) -> str:
    return f"channel {error} is not declared" if isinstance(error, KeyError) else str(error) or type(error).__name__
