"""Archives that would fill the memory are refused before they are read."""

from __future__ import annotations

import gzip
import io
import resource
import tarfile
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.calibration.pack import ARCHIVE_ORDER, archive_name
from bevformer_lib.errors import CalibrationError

MIB = 1 << 20


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones(3, np.float32))
    return stream.getvalue()


def _header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def _sparse(size: int) -> bytes:
    """GNU's header of a file that is one hole."""
    header = bytearray(_header("1.npy", 0, tarfile.GNUTYPE_SPARSE))
    header[483:495] = f"{size:011o}\0".encode()
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


@pytest.mark.parametrize(
    "head",
    [
        _header("1.npy", 9 << 30),
        _sparse(9 << 30),
        _header("././@LongLink", 4 << 30, tarfile.GNUTYPE_LONGNAME),
        _header("pax", 4 << 30, tarfile.XHDTYPE),
        _header("pax", 4 << 30, tarfile.XGLTYPE),
    ],
    ids=["member", "sparse", "long name", "extended", "global"],
)
def test_claims_are_not_believed(head: bytes, tmp_path: Path) -> None:
    for name in ARCHIVE_ORDER:
        with gzip.open(tmp_path / archive_name(name), "wb", compresslevel=1) as file:
            file.write(head)
            for _ in range(100):
                file.write(bytes(MIB))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CalibrationError, match=r"\.tar\.gz"):
        read_calibration(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 * 1024


def test_no_member_larger_than_the_models_inputs_is_read(tmp_path: Path) -> None:
    for name in ARCHIVE_ORDER:
        with gzip.open(tmp_path / archive_name(name), "wb", compresslevel=1) as file:
            file.write(_header("1.npy", 40 * MIB))
            for _ in range(40):
                file.write(bytes(MIB))
    with pytest.raises(CalibrationError, match=r"img\.tar\.gz: '1\.npy' has 41,943,040 bytes, more than .* \(1,036\)"):
        read_calibration(tmp_path, 1036)


def test_zeros_behind_the_end_are_not_read_for_ever(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("1.npy")
        info.size = len(_npy())
        tar.addfile(info, io.BytesIO(_npy()))
    for name in ARCHIVE_ORDER:
        with gzip.open(tmp_path / archive_name(name), "wb", compresslevel=1) as file:
            file.write(stream.getvalue())
            for _ in range(40):
                file.write(bytes(MIB))
    with pytest.raises(CalibrationError, match="much follows its end"):
        read_calibration(tmp_path)
