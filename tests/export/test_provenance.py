from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export.provenance import Provenance, package_versions, read_provenance, write_provenance
from tests.export.graphs import model_of

PROVENANCE = Provenance(
    checkpoint_name="bevformer_tiny_epoch_24.pth",
    checkpoint_sha256="ab" * 32,
    config_name="tiny",
    config_digest="cd" * 32,
    image_hw=(480, 800),
    opset=17,
    exporter="torch.onnx.export(dynamo=False)",
    versions={"torch": "2.13.0+cpu", "onnx": "1.23.2"},
)


def _model() -> onnx.ModelProto:
    return model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, {"y": (2,)})


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    model = _model()
    onnx.helper.set_model_props(model, {"onnxsim.removed_nodes": "Relu"})
    write_provenance(model, PROVENANCE)
    path = tmp_path / "größe x.onnx"
    onnx.save(model, str(path))
    assert read_provenance(path) == PROVENANCE
    assert all(entry.key.startswith("bevformer.") for entry in model.metadata_props)


def test_versions_of_what_the_graph_depends_on() -> None:
    versions = package_versions()
    assert set(versions) >= {"torch", "onnx", "onnxsim", "onnxruntime"}
    assert versions["onnx"] == onnx.__version__


def test_a_graph_without_provenance_is_named(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    onnx.save(_model(), str(path))
    with pytest.raises(ExportError, match=r"foreign\.onnx does not say where it comes from.*bevformer\.image_hw"):
        read_provenance(path)


@pytest.mark.parametrize(("key", "value"), [("image_hw", "480"), ("opset", "new")])
def test_damaged_entries_are_an_error(tmp_path: Path, key: str, value: str) -> None:
    model = _model()
    write_provenance(model, PROVENANCE)
    next(entry for entry in model.metadata_props if entry.key == f"bevformer.{key}").value = value
    path = tmp_path / "damaged.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ExportError, match=r"damaged\.onnx: its metadata is damaged"):
        read_provenance(path)


def test_no_onnx_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a graph")
    with pytest.raises(ExportError, match=r"text\.onnx can't be read as an ONNX model"):
        read_provenance(path)
    with pytest.raises(ExportError, match=r"absent\.onnx can't be read"):
        read_provenance(tmp_path / "absent.onnx")
