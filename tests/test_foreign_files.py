"""Files of other kinds under a wanted name are recognised."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.foreign_files import advice, what_it_is

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"7" * 64 + b"\nsize 402393127\n"


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (LFS_POINTER, "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
        ((64).to_bytes(8, "little") + b'{"__metadata__":{}}', "safetensors"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
    ],
)
def test_what_a_file_is(tmp_path: Path, head: bytes, what: str) -> None:
    assert what in str(what_it_is(head))
    (tmp_path / "model.onnx").write_bytes(head)
    assert what in advice(tmp_path / "model.onnx", "export it again")


@pytest.mark.parametrize("head", [b"", b"\x08\x08\x12\x07pytorch", b"\x80\x02}q\x00."])
def test_other_files_get_the_other_advice(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(head)
    assert advice(tmp_path / "model.onnx", "export it again") == "export it again"
    assert advice(tmp_path / "missing", "export it again") == "export it again"
