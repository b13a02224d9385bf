"""Read a calibration set back, from its archives and nothing else."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from numpy.typing import NDArray

from bevformer_lib.calibration.pack import ARCHIVE_ORDER, add_member, archive_name, new_archive
from bevformer_lib.errors import CalibrationError
from bevformer_lib.names import (
    HOST_GEOMETRY_INPUTS,
    INPUT_CAMERA_ROWS,
    INPUT_CAN_BUS,
    INPUT_REFERENCE_POINTS,
    INPUT_ROTATION_GRID,
)
from bevformer_lib.runtime.base import TensorSpec
from bevformer_lib.strict_npy import HEADER_BYTES, MOST_BYTES, parse_npy

_MEMBER: Final = re.compile(r"([1-9][0-9]*)\.npy")
_CHUNK_BYTES: Final = 1 << 20
_MOST_HEADER_BYTES: Final = 1 << 16
"""Of what an archive may say before a member: long names, times with fractions."""
_MOST_PADDING_BYTES: Final = 1 << 24
"""Of zeros behind the last member; tar fills up blocks of 10 KiB."""


@dataclass(frozen=True)
class CalibrationSet:
    """A calibration set whose archives were found whole and consistent.

    Iterating gives the samples as they lie in the archives, each a dictionary input name -> array; one is held
    in memory at a time.

    Attributes:
        tensors: name, shape and dtype of every input, the same in all samples.
    """

    folder: Path
    num_samples: int
    tensors: Mapping[str, TensorSpec]

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        paths = {name: self.folder / archive_name(name) for name in self.tensors}
        members = {name: _members(path, self.tensors[name].num_bytes + HEADER_BYTES) for name, path in paths.items()}
        for _ in range(self.num_samples):
            yield {name: _load(next(found)[1], paths[name]) for name, found in members.items()}


def read_calibration(folder: Path, most_bytes: int = MOST_BYTES) -> CalibrationSet:
    """Check the archives of a calibration set.

    The members may come in any order (``tar`` sorts ``10.npy`` before ``2.npy``), but in the same one in all of them.

    Args:
        folder: with the archives.
        most_bytes: of a member; larger ones are not read.

    Raises:
        CalibrationError: an archive is missing or broken, a member is too large, or they disagree in count, names,
            shapes or dtypes.
    """
    order: list[int] | None = None
    tensors: dict[str, TensorSpec] = {}
    names = _archived_inputs(folder)
    for name in names:
        archive = archive_name(name)
        numbers, spec = _scan(folder / archive, name, most_bytes)
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            raise CalibrationError(
                f"{folder / archive}: its members must be 1.npy .. {len(numbers)}.npy, each once; "
                f"found {', '.join(f'{number}.npy' for number in sorted(numbers)[:10])} ..."
            )
        order = order or numbers
        if numbers != order:
            raise CalibrationError(
                f"{folder / archive}: {len(numbers)} members, {len(order)} in {archive_name(names[0])}, "
                "or another order of them; all archives must hold the same samples: make the set again"
            )
        tensors[name] = spec
    return CalibrationSet(folder, len(order or ()), tensors)


def rewrite_archive(
    samples: CalibrationSet, name: str, output: Path, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    """Write the archive of one input once more, its arrays changed, its members named as they are in the set."""
    path = samples.folder / archive_name(name)
    with new_archive(output) as archive:
        for number, content in _members(path, samples.tensors[name].num_bytes + HEADER_BYTES):
            add_member(archive, number, change(_load(content, path)))


def _archived_inputs(folder: Path) -> tuple[str, ...]:
    """Return the inputs that a set is for: of a graph whose geometry the host computes, or of one that computes it."""
    if not (folder / archive_name(INPUT_REFERENCE_POINTS)).exists():
        return ARCHIVE_ORDER
    optional = (INPUT_CAN_BUS, INPUT_CAMERA_ROWS, INPUT_ROTATION_GRID)
    return tuple(
        name for name in HOST_GEOMETRY_INPUTS if name not in optional or (folder / archive_name(name)).exists()
    )


def _scan(path: Path, name: str, most_bytes: int) -> tuple[list[int], TensorSpec]:
    """Return the numbers of an archive's members, as they lie in it, and their common shape and dtype."""
    numbers: list[int] = []
    spec: TensorSpec | None = None
    for number, content in _members(path, most_bytes):
        array = _load(content, path)
        found = TensorSpec(name, array.shape, array.dtype)
        spec = spec or found
        if found != spec:
            raise CalibrationError(
                f"{path}: {number}.npy is {array.dtype} {array.shape}, {numbers[0]}.npy is {spec.dtype} "
                f"{spec.shape}; all samples must be alike"
            )
        numbers.append(number)
    if spec is None:
        raise CalibrationError(f"{path}: holds no samples; make the set again")
    return numbers, spec


def _members(path: Path, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Give the (number, bytes) of an archive's members in one pass, and check the archive's own checksum."""
    try:
        with gzip.open(path) as content, tarfile.open(fileobj=content, mode="r|", tarinfo=_PlainInfo) as tar:
            yield from _read_members(tar, path, most_bytes)
            rest = 0
            while chunk := content.read(_CHUNK_BYTES):
                rest += len(chunk)
                if rest > _MOST_PADDING_BYTES:
                    raise tarfile.ReadError("much follows its end")
    except FileNotFoundError as error:
        raise CalibrationError(f"{path}: no such archive; make the set with 'bevformer prepare-calibration'") from error
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, OverflowError) as error:
        raise CalibrationError(f"{path}: is not a whole .tar.gz ({error}); make the set again") from error


class _PlainInfo(tarfile.TarInfo):
    """A header that may not claim more than a name's length for what stands before a member."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _PlainInfo:
        """Read a header; refuse extended ones that are no names, before they are read into memory."""
        info = super().frombuf(buf, encoding, errors)
        if info.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE) and info.size > _MOST_HEADER_BYTES:
            raise ValueError(f"a header of {info.size:,} bytes")
        return info


def _read_members(tar: tarfile.TarFile, path: Path, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    for member in tar:
        if member.isdir():
            continue
        match = _MEMBER.fullmatch(PurePosixPath(member.name).name)
        file = tar.extractfile(member) if match and member.isreg() else None
        if match is None or file is None or not member.isreg() or member.issparse():
            raise CalibrationError(f"{path}: unexpected member '{member.name}'; members are named 1.npy, 2.npy, ...")
        if member.size > most_bytes:
            raise CalibrationError(
                f"{path}: '{member.name}' has {member.size:,} bytes, more than all inputs of the model "
                f"({most_bytes:,}); make the calibration set with this model"
            )
        yield int(match.group(1)), file.read()


def _load(content: bytes, path: Path) -> NDArray[Any]:
    try:
        return parse_npy(content)
    except ValueError as error:
        raise CalibrationError(f"{path}: a member {error}; make the set again") from error
