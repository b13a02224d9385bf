from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.strict_npy import parse_npy, parse_npz


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize(
    "array",
    [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.ones((2, 3), np.float32)), np.float32(1), np.zeros((0, 4))],
)
def test_arrays_of_numbers_come_back(array: NDArray[Any]) -> None:
    found = parse_npy(npy(array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype and found.flags.writeable


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no .npy file"),
        (b"\x93NUMPY", "is no .npy file"),
        (npy(np.ones(3))[:-1], "its header asks for"),
        (npy(np.ones(3)) + b"x", "its header asks for"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,)}\n"), "its header asks for"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}\n"), "is no .npy file"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}\n", bytes(8)), "is no .npy file"),
        (header("(" * 9000), "is no .npy file"),
        (header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}\n", bytes(8)), "not numbers"),
        (npy(np.array(["text"])), "not numbers"),
        (npy(np.array([None]), allow_pickle=True), "not numbers"),
        (b"PK\x03\x04", "is no .npy file"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_npy(content)


def test_npz() -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(2), b=np.zeros(3))
    assert sorted(parse_npz(stream.getvalue())) == ["a", "b"]
    assert sorted(parse_npz(stream.getvalue())["a"]) == [1.0, 1.0]
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"x")
        archive.infolist()[0].file_size = 1 << 40
    for content, said in (
        (b"", "is no .npz"),
        (stream.getvalue()[:-30], "is no .npz"),
        (bomb.getvalue(), "larger than"),
    ):
        with pytest.raises(ValueError, match=said):
            parse_npz(content)
