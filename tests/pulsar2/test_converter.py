from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.converters import open_converter
from bevformer_lib.convert.onnxruntime import OnnxRuntimeConverter
from bevformer_lib.errors import CalibrationError, ConversionError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.pulsar2 import recipes
from bevformer_lib.pulsar2.converter import Pulsar2Converter, Pulsar2Options
from bevformer_lib.pulsar2.errors import (
    BuildConfigError,
    BuildFailedError,
    BuildMemoryError,
    ImageMissingError,
    ToolMissingError,
)
from bevformer_lib.pulsar2.recipes import float_layers_behind
from bevformer_lib.pulsar2.simulator import Pulsar2Run
from tests.pulsar2.support import convert, expect_failure
from tests.standins.axmodel_container import read_axmodel
from tests.support.calibration import ToyWorld


def test_the_compiled_model_follows_the_float_one(
    place: str, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    conversion = convert(world, calibration, tmp_path / "out dir" / "m.axmodel", recipe="all-u16")
    assert [path.name for path in conversion.output.parent.iterdir()] == ["m.axmodel"]
    compiled = read_axmodel(conversion.output)
    assert (compiled.target_hardware, compiled.npu_mode) == ("AX650", "NPU3")
    frame = next(iter(world.scenes.values())).frames[0]
    inputs = world.preprocessor.inputs(frame, None)
    feed = {
        "img": inputs.img,
        "can_bus": inputs.can_bus,
        "lidar2img": inputs.lidar2img,
        "prev_bev": np.zeros((120, 1, 32), np.float32),
    }
    found = compiled.execute(feed)["outputs_coords"]
    import onnxruntime

    expected = onnxruntime.InferenceSession(world.model).run(["outputs_coords"], feed)[0]
    assert 0 < np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def test_what_is_reported(place: str, world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    conversion = convert(world, calibration, tmp_path / "m.axmodel", recipe="w8a16")
    facts = conversion.facts
    json.dumps(facts, allow_nan=False)
    assert facts["tool"]["kind"] == place
    assert facts["tool"]["version"] == facts["axmodel"]["version"] == "4.2-standin"
    assert facts["float_model_sha256"] == sha256_of_file(world.model)
    assert facts["axmodel_sha256"] == sha256_of_file(conversion.output)
    assert facts["config"]["quant"]["input_configs"][0]["calibration_format"] == "Numpy"
    assert len(facts["max_cycle"]) == len(facts["macs"]) == 1
    assert facts["max_cycle"][0] > facts["macs"][0] > 0
    assert {row["quantized_dtype"] for row in facts["precision_table"]} == {"U16"}
    assert conversion.findings == () == tuple(facts["findings"])
    assert (conversion.num_samples, conversion.converter) == (3, "pulsar2")
    assert conversion.quantized_nodes["AxQuantizedConv"] == 1
    assert conversion.float_nodes == {}
    assert conversion.settings == {
        "recipe": "w8a16",
        "target": "AX650",
        "npu_mode": "NPU3",
        "calibration_method": "MSE",
        "pulsar2": "4.2-standin",
    }


def test_the_log_and_the_progress_arrive_while_it_runs(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    progress: list[tuple[str, int, int]] = []
    Pulsar2Converter(Pulsar2Options(recipe="int8", on_line=lines.append)).convert(
        world.model, calibration, tmp_path / "m.axmodel", on_progress=lambda *what: progress.append(what)
    )
    assert "3 File(s) Loaded." in lines
    assert progress == [("calibrate, phase 1", number, 3) for number in (1, 2, 3)]


def test_fewer_float_operators_than_asked_for_are_a_finding(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "quant:\n  layer_configs:\n"
        "    - {op_types: [Relu], data_type: U16}\n"
        "    - {op_types: [Tanh], data_type: FP32}\n"
        "    - {op_type: Softmax, data_type: FP32}\n"
    )
    conversion = convert(world, calibration, tmp_path / "m.axmodel", overrides=mine)
    never, merged, kept = conversion.findings
    assert never.startswith("layer_configs.1: FP32 is not documented for Tanh")
    assert merged == "layer_configs.0 (Relu: U16): no operator of type Relu was built; the request had no effect"
    assert kept.startswith("layer_configs.1 (Tanh: FP32): 6 of 6 operators were built otherwise: toy/seen.tanh is U8")


def test_a_build_that_ignores_what_was_asked(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "ignore-precision")
    (finding,) = convert(world, calibration, tmp_path / "m.axmodel", recipe="all-u16").findings
    assert "(DEFAULT to DEFAULT: U16)" in finding
    assert "operators were built otherwise" in finding


def test_without_analysis_the_quantisers_record_is_checked(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("quant: {precision_analysis: false}\n")
    conversion = convert(world, calibration, tmp_path / "m.axmodel", recipe="all-u16", overrides=mine)
    assert {row["quantized_dtype"] for row in conversion.facts["precision_table"]} == {"U16"}
    assert conversion.findings == ()
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "ignore-precision")
    assert len(convert(world, calibration, tmp_path / "m.axmodel", recipe="all-u16", overrides=mine).findings) == 1


@pytest.mark.parametrize(
    ("mode", "error", "message"),
    [
        ("compile", BuildFailedError, r"toy\.onnx: .*exit status 1\. .*\n(?s:.*)AssertionError: unsupported tiling"),
        ("no-output", BuildFailedError, "wrote no compiled.axmodel"),
        ("half-output", BuildFailedError, "RuntimeError: disk write failed"),
        ("other-model", BuildFailedError, r"not this model: output 'bev_embed' has the shape \(121, 1, 32\)"),
        ("memory-error", BuildMemoryError, "killed for memory.*\n(?s:.*)Unable to allocate"),
        ("killed", BuildMemoryError, "killed for memory"),
    ],
)
def test_every_failure_has_its_own_error_and_leaves_nothing(
    place: str,
    mode: str,
    error: type[Exception],
    message: str,
    world: ToyWorld,
    calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", mode)
    (tmp_path / "out").mkdir()
    expect_failure(world, calibration, tmp_path / "out" / "m.axmodel", error, message)


def test_a_build_that_fails_leaves_the_one_before(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = convert(world, calibration, tmp_path / "out" / "m.axmodel").output
    before = output.read_bytes()
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "half-output")
    with pytest.raises(BuildFailedError):
        convert(world, calibration, output)
    assert [path.name for path in output.parent.iterdir()] == ["m.axmodel"]
    assert output.read_bytes() == before


def test_no_docker_no_image_no_daemon(
    docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "m"
    expect_failure(
        world, calibration, output, ImageMissingError, r"docker load -i ax_pulsar2_9\.0\.tar\.gz", image="pulsar2:9.0"
    )
    monkeypatch.setenv("STANDIN_DOCKER_DOWN", "1")
    expect_failure(world, calibration, output, ToolMissingError, "Cannot connect to the Docker daemon")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    expect_failure(world, calibration, output, ToolMissingError, "neither pulsar2 nor docker")


def test_a_model_with_weights_in_a_file_beside_it(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    path = tmp_path / "big.onnx"
    onnx.save(onnx.load(world.model), path, save_as_external_data=True, location="big.data", size_threshold=0)
    converter = Pulsar2Converter(Pulsar2Options(recipe="int8"))
    assert converter.convert(path, calibration, tmp_path / "m.axmodel").findings == ()


def test_files_of_a_store_have_names_without_ends(
    place: str, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    """A set is then a folder of links into the store, and a graph a file there."""
    store, linked = tmp_path / "store", tmp_path / "linked"
    store.mkdir()
    linked.mkdir()
    for number, path in enumerate(sorted(calibration.iterdir())):
        (store / f"{number}").write_bytes(path.read_bytes())
        (linked / path.name).symlink_to(store / f"{number}")
    (store / "graph").write_bytes(world.model.read_bytes())
    converter = Pulsar2Converter(Pulsar2Options(recipe="int8"))
    conversion = converter.convert(store / "graph", linked, tmp_path / "out" / "m")
    assert read_axmodel(conversion.output).npu_mode == "NPU3"
    runtime = Pulsar2Run(conversion.output)
    outputs = runtime.run({name: np.zeros(spec.shape, spec.dtype) for name, spec in runtime.inputs.items()})
    assert outputs["bev_embed"].shape == (120, 1, 32)


def test_an_image_that_holds_another_version_is_a_finding(
    docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_DOCKER_IMAGES", "pulsar2:5.1")
    monkeypatch.setenv("STANDIN_PULSAR2_VERSION", "4.2-standin")
    (finding,) = convert(world, calibration, tmp_path / "m.axmodel", image="pulsar2:5.1").findings
    assert finding == "the image is pulsar2:5.1, pulsar2 in it says version 4.2-standin"


def _rename_softmax(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Hardmax"


def _dynamic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_rename_softmax, BuildFailedError, r"dont support Hardmax opr(?s:.*)bevformer lint"),
        (_dynamic, ConversionError, "'img' has a dynamic shape"),
    ],
)
def test_models_that_can_not_be_compiled(
    change: Callable[[onnx.ModelProto], None],
    error: type[Exception],
    message: str,
    native: Path,
    world: ToyWorld,
    calibration: Path,
    tmp_path: Path,
) -> None:
    model = onnx.load(world.model)
    change(model)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(error, match=message):
        Pulsar2Converter(Pulsar2Options(recipe="int8")).convert(tmp_path / "other.onnx", calibration, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_name_from_before_fusion_fails_the_build(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("quant: {layer_configs: [{layer_name: toy/stem.relu, data_type: U16}]}\n")
    (tmp_path / "out").mkdir()
    message = r"layer_name \[toy/stem.relu\] not found in graph"
    expect_failure(world, calibration, tmp_path / "out" / "m", BuildFailedError, message, overrides=mine)


def test_layers_that_a_recipe_named_and_that_are_gone_are_left_out(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a converter that fuses more than is known."""
    chosen = [*float_layers_behind(onnx.load(world.model).graph, "prev_bev"), "toy/stem.relu", "toy/gone"]
    monkeypatch.setattr(recipes, "float_layers_behind", lambda graph, tensor: chosen)
    first, second = convert(world, calibration, tmp_path / "out" / "m.axmodel", recipe="vendor-tiny").findings[:2]
    assert first == "layer_configs: no operator 'toy/stem.relu' when it was looked for; left out"
    assert "'toy/gone'" in second
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m.axmodel"]


def test_a_config_that_the_tool_refuses(native: Path, world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    """As an older version of the tool may, which does not know a key."""
    older = tmp_path / "older"
    older.write_text(f'#!/bin/sh\ncase "$1" in build) set -- "$@" --typo;; esac\nexec "{native}" "$@"\n')
    older.chmod(0o755)
    (tmp_path / "out").mkdir()
    message = r"refused its config.*\n(?s:.*)unrecognized arguments: --typo"
    expect_failure(world, calibration, tmp_path / "out" / "m", BuildConfigError, message, executable=older)


def test_paths_of_overrides_reach_the_tool(docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("const_processors: [{name: bev_queries, data_path: new.npy}]\n")
    (tmp_path / "out").mkdir()
    message = r"new\.npy: no such file or folder, but the build config names it"
    expect_failure(world, calibration, tmp_path / "out" / "m", BuildConfigError, message, overrides=mine)
    np.save(tmp_path / "new.npy", np.zeros((120, 1, 32), np.float32))
    assert convert(world, calibration, tmp_path / "out" / "m", overrides=mine).findings == ()


def test_a_broken_set_and_a_set_of_another_model(native: Path, world: ToyWorld, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such archive"):
        convert(world, tmp_path, tmp_path / "m.axmodel")


def test_a_model_that_is_quantised_already(native: Path, world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    OnnxRuntimeConverter(threads=1).convert(world.model, calibration, tmp_path / "int8.onnx")
    with pytest.raises(ConversionError, match="is quantised already"):
        Pulsar2Converter(Pulsar2Options()).convert(tmp_path / "int8.onnx", calibration, tmp_path / "m.axmodel")


def test_by_name() -> None:
    assert isinstance(open_converter("pulsar2"), Pulsar2Converter)
    with pytest.raises(ConversionError, match="leave device and threads out"):
        open_converter("pulsar2", device="cuda")
    with pytest.raises(ConversionError, match="settings of Pulsar2 are given, but the converter is onnxruntime"):
        open_converter("onnxruntime", pulsar2=Pulsar2Options())
