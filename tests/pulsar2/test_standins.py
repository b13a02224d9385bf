"""The stand-ins refuse what the documentation rules out: a test that passes with them has to mean something."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.convert.float_model import load_graph
from bevformer_lib.pulsar2.generate import generate_build_config
from bevformer_lib.pulsar2.settings import Pulsar2Settings
from tests.standins.axmodel_container import write_axmodel
from tests.standins.pulsar2.files import with_processors
from tests.standins.pulsar2.operators import as_computed, refusal
from tests.standins.pulsar2.quantize import force_by_the_end, fuse
from tests.support.calibration import ToyWorld

Config = dict[str, Any]


@pytest.fixture
def config(world: ToyWorld, calibration: Path) -> Config:
    samples = read_calibration(calibration)
    return generate_build_config(load_graph(world.model), samples, Pulsar2Settings(recipe="int8")).to_content()


def _run(*command: str | Path) -> tuple[int, str]:
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def _build(native: Path, world: ToyWorld, config: Config, folder: Path, *flags: str) -> tuple[int, str]:
    path = folder / "config.json"
    path.write_text(f"// with a comment\n{json.dumps(config)} # and another\n")
    arguments = ("--input", world.model, "--output_dir", folder / "out", "--config", path)
    return _run(native, "build", *arguments, *flags)


def _archive(path: Path, **members: np.ndarray) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, array in members.items():
            content = io.BytesIO()
            np.save(content, array)
            member = tarfile.TarInfo(f"{name}.npy")
            member.size = content.tell()
            content.seek(0)
            tar.addfile(member, content)
    return str(path)


def test_the_documented_tree_is_written(native: Path, world: ToyWorld, config: Config, tmp_path: Path) -> None:
    status, said = _build(native, world, config, tmp_path)
    assert status == 0, said
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == {
        "compiled.axmodel",
        "build_context.json",
        "frontend/optimized.onnx",
        "quant/quant_axmodel.onnx",
        "quant/quant_axmodel.json",
        "quant/quant_axmodel.data",
        "quant/debug/precision_analysis_table.txt",
    }
    for words in ("Quant Config Table", "max_cycle = ", "QuantAxModel macs: ", "Quant Precision Table"):
        assert words in said


def _image_format(config: Config, folder: Path) -> None:
    del config["quant"]["input_configs"][0]["calibration_format"]


def _no_input(config: Config, folder: Path) -> None:
    del config["quant"]["input_configs"][1]


def _unknown_input(config: Config, folder: Path) -> None:
    config["quant"]["input_configs"][1]["tensor_name"] = "canbus"


def _other_dtype(config: Config, folder: Path) -> None:
    path = _archive(folder / "a.tar.gz", **{str(number): np.zeros((1, 18)) for number in (1, 2, 3)})
    config["quant"]["input_configs"][1]["calibration_dataset"] = path


def _other_shape(config: Config, folder: Path) -> None:
    path = _archive(folder / "a.tar.gz", **{str(number): np.zeros(18, np.float32) for number in (1, 2, 3)})
    config["quant"]["input_configs"][1]["calibration_dataset"] = path


def _other_names(config: Config, folder: Path) -> None:
    path = _archive(folder / "a.tar.gz", **{str(number): np.zeros((1, 18), np.float32) for number in (1, 2, 4)})
    config["quant"]["input_configs"][1]["calibration_dataset"] = path


def _no_archive(config: Config, folder: Path) -> None:
    (folder / "a.tar.gz").write_bytes(b"no archive")
    config["quant"]["input_configs"][1]["calibration_dataset"] = str(folder / "a.tar.gz")


def _unknown_output(config: Config, folder: Path) -> None:
    config["output_processors"][0]["tensor_name"] = "bev"


def _unknown_tensor(config: Config, folder: Path) -> None:
    layer = {"start_tensor_names": ["nowhere"], "end_tensor_names": ["DEFAULT"], "data_type": "U16"}
    config["quant"]["layer_configs"] = [layer]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_image_format, "cannot identify image file of input [img]"),
        (_no_input, "input [can_bus] has no input_configs"),
        (_unknown_input, "input_configs tensor_name [canbus] not found in model inputs"),
        (_other_dtype, "of input [can_bus] is float64 (1, 18), expected float32 (1, 18)"),
        (_other_shape, "of input [can_bus] is float32 (18,), expected float32 (1, 18)"),
        (_other_names, "calibration datasets of different inputs hold different file names"),
        (_no_archive, "tarfile.ReadError"),
        (_unknown_output, "output_processors tensor_name [bev] not found"),
        (_unknown_tensor, "layer_configs tensor [nowhere] not found in graph"),
    ],
)
def test_archives_and_names_are_checked_against_the_model(
    change: Callable[[Config, Path], None],
    message: str,
    native: Path,
    world: ToyWorld,
    config: Config,
    tmp_path: Path,
) -> None:
    change(config, tmp_path)
    status, said = _build(native, world, config, tmp_path)
    assert status == 1
    assert message in said
    assert not (tmp_path / "out" / "compiled.axmodel").exists()


@pytest.mark.parametrize(
    ("flags", "status", "message"),
    [
        (("--npu-mode", "NPU3"), 2, "unrecognized arguments: --npu-mode"),
        (("--npu_mode", "NPU4"), 1, "Invalid enum value 'NPU4' while target_hardware is AX650"),
        (("--target_hardware", "AX640"), 1, "Invalid enum value 'AX640'"),
        (("--quant.calibration_method", "mse"), 1, "Invalid enum value 'mse'"),
        (("--compiler.check", "9"), 1, "9 is out of range"),
        (("--quant.precision_analysis", "maybe"), 2, "invalid choice: 'maybe'"),
    ],
)
def test_flags_are_checked(
    flags: tuple[str, ...], status: int, message: str, native: Path, world: ToyWorld, config: Config, tmp_path: Path
) -> None:
    found, said = _build(native, world, config, tmp_path, *flags)
    assert (found, message in said) == (status, True), said


def test_run_wants_every_input_whole(native: Path, world: ToyWorld, tmp_path: Path) -> None:
    model = write_axmodel(tmp_path / "m.axmodel", onnx.load(world.model))
    (tmp_path / "in" / "0").mkdir(parents=True)
    (tmp_path / "list.txt").write_text("0\n")
    arguments = ("--model", model, "--input_dir", tmp_path / "in", "--output_dir", tmp_path / "o")
    status, said = _run(native, "run", *arguments, "--list", tmp_path / "list.txt")
    assert (status, "No such file or directory" in said) == (1, True)
    (tmp_path / "in" / "0" / "img.bin").write_bytes(b"short")
    status, said = _run(native, "run", *arguments, "--list", tmp_path / "list.txt")
    assert (status, "[img] has 5 bytes" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ("run", "--memory-limit", "5", "pulsar2:4.2", "pulsar2", "version"),
            125,
            "unrecognized arguments: --memory-limit",
        ),
        (("run", "--memory", "5GB", "pulsar2:4.2", "pulsar2", "version"), 125, "invalid size: '5GB'"),
        (("run", "-v", "relative:/data", "pulsar2:4.2", "pulsar2", "version"), 125, "invalid volume specification"),
        (("run", "-v", "/tmp:/data:rox", "pulsar2:4.2", "pulsar2", "version"), 125, "invalid volume specification"),
        (("run", "pulsar2:9.9", "pulsar2", "version"), 125, "Unable to find image"),
        (("run", "pulsar2:4.2", "pulsar3"), 127, "executable file not found"),
        (("kill", "nobody"), 1, "No such container"),
        (("image", "inspect", "pulsar2:9.9"), 1, "No such image"),
        (("stop", "x"), 125, "is not a command"),
    ],
)
def test_docker_is_as_strict_as_docker(arguments: tuple[str, ...], status: int, message: str, docker: Path) -> None:
    found, said = _run("docker", *arguments)
    assert found == status, said
    assert message in said


def _refused(*nodes: onnx.NodeProto, constants: dict[str, np.ndarray] | None = None, **inputs: list[int]) -> str:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    return str(refusal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (_refused(helper.make_node("IsNaN", ["x"], ["y"]), x=[2, 2]), "dont support IsNaN opr in AXOPS"),
        (_refused(helper.make_node("Xor", ["x", "x"], ["y"]), x=[2, 2]), "KeyError"),
        (
            _refused(helper.make_node("Squeeze", ["x", "a"], ["y"]), constants={"a": np.array([0])}, x=[1, 4]),
            "ZeroDivisionError",
        ),
        (_refused(helper.make_node("LeakyRelu", ["x"], ["y"]), x=[2, 2]), "NoneType"),
        (_refused(helper.make_node("Sub", ["x", "x"], ["y"]), x=[4]), "tuple index out of range"),
        (_refused(helper.make_node("Gemm", ["x", "z"], ["y"]), x=[2, 3], z=[3, 4]), "Should fuse Gemm"),
        (
            _refused(helper.make_node("Gather", ["x", "i"], ["y"]), constants={"i": np.array([7])}, x=[191, 4096]),
            "3145732 > 3141632",
        ),
        (_refused(helper.make_node("Squeeze", ["x"], ["r"]), helper.make_node("Relu", ["r"], ["y"]), x=[1, 4]), "None"),
        (_refused(helper.make_node("Neg", ["x"], ["y"]), x=[2, 2]), "None"),
    ],
)
def test_graphs_that_the_real_converter_was_seen_to_refuse_are_refused(said: str, expected: str) -> None:
    assert expected in said


def test_a_reduction_that_names_no_axes_is_built_wrongly_without_a_word() -> None:
    node = helper.make_node("ReduceMean", ["x"], ["y"], keepdims=1)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (built,) = as_computed(model).graph.node
    assert helper.get_attribute_value(built.attribute[1]) == [-1]


def test_six_and_seven_fuse_and_name_what_four_does_not(
    native: Path, world: ToyWorld, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "unrecognized arguments" in _build(native, world, config, tmp_path, "--debug.dump_frontend_graph")[1]
    monkeypatch.setenv("STANDIN_PULSAR2_VERSION", "7.0-standin")
    status, said = _build(native, world, config, tmp_path, "--debug.dump_frontend_graph", "--compiler.npu_perf")
    assert status == 0, said
    out = tmp_path / "out"
    fused = [node.name for node in onnx.load(out / "frontend/optimized_quant_axmodel.onnx").graph.node]
    assert any(name.startswith("op_") for name in fused)
    record = json.loads((out / "quant/quant_axmodel.json").read_text())
    assert set(record["tensor_configs"]) == set(record["dispatchings"]) == set(fused)
    assert (out / "compiler/debug/subgraph_npu_0/b1/trace.json").is_file()


def test_what_comes_in_is_normalised_and_turned_inside() -> None:
    value = helper.make_tensor_value_info("img", TensorProto.FLOAT, [1, 3, 4, 5])
    node = helper.make_node("Identity", ["img"], ["y"])
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 5])]
    graph = helper.make_graph([node], "g", [value], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    entry = {"tensor_name": "img", "src_dtype": "U8", "src_layout": "NHWC", "mean": [1, 2, 3], "std": [2, 4, 8]}
    built = with_processors(model, {"input_processors": [entry], "quant": {"input_configs": [{"tensor_name": "img"}]}})
    pixels = np.arange(60, dtype=np.uint8).reshape(1, 4, 5, 3)
    session = onnxruntime.InferenceSession(built.SerializeToString())
    expected = ((pixels - np.float32([1, 2, 3])) / np.float32([2, 4, 8])).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(session.run(None, {"img": pixels})[0], expected, rtol=1e-6)


def test_only_a_reshape_that_ends_the_graph_forces_eight_bits() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"], name="first"),
        helper.make_node("Reshape", ["square", "s"], ["flat"], name="middle"),
        helper.make_node("Mul", ["flat", "flat"], ["again"], name="last"),
        helper.make_node("Reshape", ["again", "s"], ["turned"], name="turned"),
        helper.make_node("Transpose", ["turned"], ["y"], name="end"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    shape = numpy_helper.from_array(np.array([1, 4]), "s")
    fused = fuse(helper.make_graph(nodes, "g", values[:1], values[1:], [shape]))
    chosen = {each.name: "U16" if each.node.op_type == "Mul" else "U8" for each in fused}
    force_by_the_end(fused, chosen, {"y"})
    assert [chosen[each.name] for each in fused] == ["U16", "U8", "U8", "U8", "U8"]
    chosen = dict.fromkeys(chosen, "U16")
    force_by_the_end(fused, chosen, {"y"})
    assert set(chosen.values()) == {"U16"}
