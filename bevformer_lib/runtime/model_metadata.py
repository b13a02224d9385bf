"""The metadata of an ONNX file, read without its graph: what decides how to load it must be known before."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

KEEP_ROUNDING: Final = "bevformer.run.keep_rounding"
"""Key of graphs whose QuantizeLinear and DequantizeLinear must be computed as they stand: they emulate an NPU."""
BEV_HW_KEY: Final = "bevformer.bev_hw"
"""Key of a graph's rows and columns of the BEV, as ROWSxCOLUMNS: their product alone shows in the shapes."""
_MOST_BYTES: Final = 1 << 31
"""Of a protobuf message."""
_METADATA_FIELD: Final = 14
_VARINT: Final = 0
_EIGHT_BYTES: Final = 1
_LENGTH_DELIMITED: Final = 2
_FOUR_BYTES: Final = 5


def read_model_metadata(path: Path) -> dict[str, str]:
    """Return the ``metadata_props`` of an ONNX file; empty where the file is something else.

    The file is a protobuf message, whose fields say how long they are: all others are skipped.

    Raises:
        OSError: the file can't be read.
    """
    properties: dict[str, str] = {}
    with path.open("rb") as file:
        # Whatever is no such message is refused by those that load it.
        try:
            while (tag := _varint(file)) is not None:
                if tag == (_METADATA_FIELD << 3 | _LENGTH_DELIMITED):
                    entry = file.read(_length(file))
                    key, value = _strings(entry)
                    properties[key] = value
                else:
                    _skip(file, tag & 7)
        except (ValueError, IndexError):
            return {}
    return properties


def _varint(file: BinaryIO) -> int | None:
    """Read a number; ``None`` at the end of the file."""
    value = shift = 0
    while byte := file.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return value
        if shift > 63:
            raise ValueError("no protobuf number")
    return None


def _length(file: BinaryIO) -> int:
    length = _varint(file) or 0
    if length > _MOST_BYTES:
        raise ValueError("no protobuf field")
    return length


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _VARINT:
        _varint(file)
    elif kind == _LENGTH_DELIMITED:
        file.seek(_length(file), 1)
    elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
        file.seek(8 if kind == _EIGHT_BYTES else 4, 1)
    else:
        raise ValueError("no protobuf field")


def _strings(entry: bytes) -> tuple[str, str]:
    """Return key and value of a ``StringStringEntryProto``."""
    found = ["", ""]
    place = 0
    while place < len(entry):
        field = entry[place] >> 3
        length = shift = 0
        while True:
            place += 1
            length |= (entry[place] & 0x7F) << shift
            shift += 7
            if entry[place] < 0x80:
                break
        found[field - 1] = entry[place + 1 : place + 1 + length].decode()
        place += 1 + length
    return found[0], found[1]
