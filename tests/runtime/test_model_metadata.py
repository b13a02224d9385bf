from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from bevformer_lib.runtime.model_metadata import read_model_metadata
from tests.export.graphs import model_of


def test_metadata_is_read_past_any_graph(tmp_path: Path) -> None:
    constants = {"c": np.arange(100_000, dtype=np.float32)}
    model = model_of([helper.make_node("Add", ["x", "c"], ["y"])], {"x": [1]}, {"y": [100_000]}, constants=constants)
    model.producer_name, model.model_version = "somebody", 300
    properties = {"bevformer.key": "wért", "empty": "", "long": "x" * 1000}
    helper.set_model_props(model, properties)
    onnx.save(model, tmp_path / "model.onnx")
    assert read_model_metadata(tmp_path / "model.onnx") == properties


@pytest.mark.parametrize(
    "content", [b"", b"no model at all", b"\xff" * 40, b"\x12\x80\x80\x80\x80\xff\xba\x06", bytes(range(256))]
)
def test_other_files_have_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(content)
    assert read_model_metadata(path) == {}
