from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.errors import ConversionError
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
from bevformer_lib.pulsar2.container import interface_defects, read_axmodel
from bevformer_lib.pulsar2.parse import parse_build_config
from tests.standins.axmodel_container import write_axmodel
from tests.support.calibration import ToyWorld


@pytest.fixture
def model(world: ToyWorld) -> onnx.ModelProto:
    return onnx.load(world.model)


def test_what_a_compiled_model_says_about_itself(model: onnx.ModelProto, tmp_path: Path) -> None:
    compiled = read_axmodel(write_axmodel(tmp_path / "m.axmodel", model, version="4.2", commit="2064a8ee"))
    assert (compiled.version, compiled.commit) == ("4.2", "2064a8ee")
    assert (tuple(compiled.inputs), tuple(compiled.outputs)) == (INPUT_NAMES, OUTPUT_NAMES)
    assert compiled.inputs["img"].shape == (1, 6, 3, 96, 160)
    assert compiled.inputs["img"].dtype == np.float32
    assert (compiled.npu_subgraphs, compiled.other_nodes) == (1, {})
    assert compiled.to_content()["bytes"] == (tmp_path / "m.axmodel").stat().st_size


def test_parts_that_run_elsewhere_are_counted(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = write_axmodel(tmp_path / "m.axmodel", model)
    container = onnx.load_model_from_string(path.read_bytes())
    container.graph.node.append(onnx.helper.make_node("AxGridSample", [], []))
    path.write_bytes(container.SerializeToString())
    assert read_axmodel(path).other_nodes == {"AxGridSample": 1}


@pytest.mark.parametrize("content", [b"", b"no container"])
def test_files_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.axmodel").write_bytes(content)
    with pytest.raises(ConversionError, match=r"m\.axmodel: (is no ONNX container|holds no graph)"):
        read_axmodel(tmp_path / "m.axmodel")


def test_an_onnx_model_is_none(world: ToyWorld) -> None:
    with pytest.raises(ConversionError, match="its producer is 'toy', not Pulsar2"):
        read_axmodel(world.model)


def _defects(model: onnx.ModelProto, changed: onnx.ModelProto, tmp_path: Path, **config: object) -> list[str]:
    compiled = read_axmodel(write_axmodel(tmp_path / "m.axmodel", changed))
    return interface_defects(compiled, model, Path("m.onnx"), parse_build_config(config, "test"))


def test_another_interface_is_named(model: onnx.ModelProto, tmp_path: Path) -> None:
    assert _defects(model, model, tmp_path) == []
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.input[0].name = "image"
    changed.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 17
    changed.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert _defects(model, changed, tmp_path) == [
        "it has no input 'img'",
        "it has an unknown input 'image'",
        "input 'can_bus' has the shape (1, 17), the graph's is (1, 18)",
        "output 'bev_embed' is float16, asked for was float32",
    ]


def test_what_the_processors_ask_for_is_expected(model: onnx.ModelProto, tmp_path: Path) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    dims = changed.graph.output[0].type.tensor_type.shape.dim
    dims[0].dim_value, dims[1].dim_value = dims[1].dim_value, dims[0].dim_value
    asked = {
        "input_processors": [{"tensor_name": "img", "src_dtype": "U8"}],
        "output_processors": [{"tensor_name": "bev_embed", "dst_perm": [1, 0, 2]}],
    }
    assert _defects(model, changed, tmp_path, **asked) == []
    assert len(_defects(model, changed, tmp_path)) == 2
