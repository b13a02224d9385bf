from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.convert.onnxruntime import OnnxRuntimeConverter
from bevformer_lib.convert.open import open_converter
from bevformer_lib.convert.pulsar2.converter import Pulsar2Conversion, Pulsar2Converter, Pulsar2Options
from bevformer_lib.convert.pulsar2.errors import (
    BuildCancelledError,
    BuildConfigError,
    BuildFailedError,
    BuildMemoryError,
    BuildTimeoutError,
    ImageMissingError,
    ToolMissingError,
)
from bevformer_lib.errors import CalibrationError, ConversionError
from bevformer_lib.files import sha256_of_file
from tests.standins.axmodel_container import read_axmodel
from tests.standins.install import REPOSITORY
from tests.support.calibration import ToyWorld

Options = dict[str, object]


@pytest.fixture(params=["native", "docker"])
def place(request: pytest.FixtureRequest) -> str:
    """Run the stand-in of pulsar2 natively, and behind the stand-in of docker."""
    request.getfixturevalue(request.param)
    return str(request.param)


def _convert(world: ToyWorld, calibration: Path, output: Path, **options: object) -> Pulsar2Conversion:
    settings = {"recipe": "int8", **options}
    converter = Pulsar2Converter(Pulsar2Options(**settings))  # type: ignore[arg-type]
    return converter.convert(world.model, calibration, output)


def _standins() -> list[str]:
    """Command lines of stand-ins that run now."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                mine = str(os.getpid()) in (folder / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "tests.standins." in command and mine:
                found.append(command)
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> object:
    """Mark what this test starts, and look for it afterwards."""
    monkeypatch.setenv("STANDIN_STARTED_BY", str(os.getpid()))
    yield
    deadline = time.monotonic() + 5
    while _standins() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _standins() == []


def test_the_compiled_model_follows_the_float_one(
    place: str, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    conversion = _convert(world, calibration, tmp_path / "out dir" / "m.axmodel", recipe="all-u16")
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
    conversion = _convert(world, calibration, tmp_path / "m.axmodel", recipe="w8a16")
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
    conversion = _convert(world, calibration, tmp_path / "m.axmodel", overrides=mine)
    never, merged, kept = conversion.findings
    assert never.startswith("layer_configs.1: FP32 is not documented for Tanh")
    assert merged == "layer_configs.0 (Relu: U16): no operator of type Relu was built; the request had no effect"
    assert kept.startswith("layer_configs.1 (Tanh: FP32): 6 of 6 operators were built otherwise: toy/seen.tanh is U8")


def test_a_build_that_ignores_what_was_asked(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "ignore-precision")
    (finding,) = _convert(world, calibration, tmp_path / "m.axmodel", recipe="all-u16").findings
    assert "(DEFAULT to DEFAULT: U16)" in finding
    assert "operators were built otherwise" in finding


def test_without_analysis_the_quantisers_record_is_checked(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("quant: {precision_analysis: false}\n")
    conversion = _convert(world, calibration, tmp_path / "m.axmodel", recipe="all-u16", overrides=mine)
    assert {row["quantized_dtype"] for row in conversion.facts["precision_table"]} == {"U16"}
    assert conversion.findings == ()
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "ignore-precision")
    assert len(_convert(world, calibration, tmp_path / "m.axmodel", recipe="all-u16", overrides=mine).findings) == 1


def _fails(
    world: ToyWorld, calibration: Path, output: Path, error: type[Exception], message: str, **options: object
) -> None:
    """Expect an error, and nothing where the output should have been."""
    with pytest.raises(error, match=message) as caught:
        _convert(world, calibration, output, **options)
    assert type(caught.value) is error
    assert list(output.parent.iterdir()) == []


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
    _fails(world, calibration, tmp_path / "out" / "m.axmodel", error, message)


def test_a_build_that_fails_leaves_the_one_before(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = _convert(world, calibration, tmp_path / "out" / "m.axmodel").output
    before = output.read_bytes()
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "half-output")
    with pytest.raises(BuildFailedError):
        _convert(world, calibration, output)
    assert [path.name for path in output.parent.iterdir()] == ["m.axmodel"]
    assert output.read_bytes() == before


def test_too_slow(
    place: str, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "hang")
    (tmp_path / "out").mkdir()
    _fails(world, calibration, tmp_path / "out" / "m", BuildTimeoutError, "time limit of 4 s", time_limit_seconds=4.0)


def test_too_big(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "balloon")
    (tmp_path / "out").mkdir()
    message = "killed for memory: it used .* of the allowed 0.6 GB"
    _fails(world, calibration, tmp_path / "out" / "m", BuildMemoryError, message, memory_limit_gb=0.6)


@pytest.mark.parametrize("delay", ["0", "1.5"])
def test_cancelled(
    place: str, delay: str, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the container is still on its way."""
    cancelled = threading.Event()

    def on_line(line: str) -> None:
        if "hangs" in line:
            cancelled.set()

    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "hang")
    monkeypatch.setenv("STANDIN_DOCKER_DELAY", delay)
    if delay != "0":
        threading.Timer(2.5, cancelled.set).start()
    (tmp_path / "out").mkdir()
    options = {"cancelled": cancelled, "on_line": on_line}
    _fails(world, calibration, tmp_path / "out" / "m", BuildCancelledError, "was cancelled", **options)


@pytest.mark.parametrize("number", [2, 15, 9])
def test_no_container_outlives_a_parent_that_is_ended(
    number: int, docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "hang")
    output, hanging = tmp_path / "out" / "m.axmodel", tmp_path / "hanging"
    script = f"""
        from pathlib import Path
        from bevformer_lib.convert.pulsar2.converter import Pulsar2Converter, Pulsar2Options
        def on_line(line):
            if "hangs" in line:
                Path({str(hanging)!r}).touch()
        converter = Pulsar2Converter(Pulsar2Options(recipe="int8", on_line=on_line))
        converter.convert(Path({str(world.model)!r}), Path({str(calibration)!r}), Path({str(output)!r}))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not hanging.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(_standins()) >= 2
    parent.send_signal(number)
    parent.communicate(timeout=30)
    assert not output.exists()
    if number != 9:
        assert list(output.parent.iterdir()) == []


def test_no_docker_no_image_no_daemon(
    docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / "m"
    _fails(
        world, calibration, output, ImageMissingError, r"docker load -i ax_pulsar2_9\.0\.tar\.gz", image="pulsar2:9.0"
    )
    monkeypatch.setenv("STANDIN_DOCKER_DOWN", "1")
    _fails(world, calibration, output, ToolMissingError, "Cannot connect to the Docker daemon")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    _fails(world, calibration, output, ToolMissingError, "neither pulsar2 nor docker")


def test_a_model_with_weights_in_a_file_beside_it(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    path = tmp_path / "big.onnx"
    onnx.save(onnx.load(world.model), path, save_as_external_data=True, location="big.data", size_threshold=0)
    converter = Pulsar2Converter(Pulsar2Options(recipe="int8"))
    assert converter.convert(path, calibration, tmp_path / "m.axmodel").findings == ()


def test_an_image_that_holds_another_version_is_a_finding(
    docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_DOCKER_IMAGES", "pulsar2:5.1")
    (finding,) = _convert(world, calibration, tmp_path / "m.axmodel", image="pulsar2:5.1").findings
    assert finding == "the image is pulsar2:5.1, pulsar2 in it says version 4.2-standin"


def _rename_softmax(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Hardmax"


def _dynamic(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_rename_softmax, BuildFailedError, r"unsupported op \[toy/layer0.attention\], type \[Hardmax\]"),
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
    _fails(world, calibration, tmp_path / "out" / "m", BuildFailedError, message, overrides=mine)


def test_a_config_that_the_tool_refuses(native: Path, world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    """As an older version of the tool may, which does not know a key."""
    older = tmp_path / "older"
    older.write_text(f'#!/bin/sh\ncase "$1" in build) set -- "$@" --typo;; esac\nexec "{native}" "$@"\n')
    older.chmod(0o755)
    (tmp_path / "out").mkdir()
    message = r"refused its config.*\n(?s:.*)unrecognized arguments: --typo"
    _fails(world, calibration, tmp_path / "out" / "m", BuildConfigError, message, executable=older)


def test_paths_of_overrides_reach_the_tool(docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("const_processors: [{name: bev_queries, data_path: new.npy}]\n")
    (tmp_path / "out").mkdir()
    message = r"new\.npy: no such file or folder, but the build config names it"
    _fails(world, calibration, tmp_path / "out" / "m", BuildConfigError, message, overrides=mine)
    np.save(tmp_path / "new.npy", np.zeros((120, 1, 32), np.float32))
    assert _convert(world, calibration, tmp_path / "out" / "m", overrides=mine).findings == ()


def test_a_broken_set_and_a_set_of_another_model(native: Path, world: ToyWorld, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such archive"):
        _convert(world, tmp_path, tmp_path / "m.axmodel")


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
