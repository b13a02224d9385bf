from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.standins.install import install_standin
from tests.support.calibration import ToyWorld, make_calibration
from tests.support.commands import bevformer


@pytest.fixture(scope="module")
def calibration(toy_world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(toy_world, tmp_path_factory.mktemp("cälibration"), num_samples=2)


@pytest.fixture(autouse=True)
def _standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{install_standin('pulsar2', tmp_path / 'bin').parent}:/usr/bin:/bin")


def test_converts_and_evaluates_in_the_simulator(
    toy_world: ToyWorld, calibration: Path, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, log = tmp_path / "wörk" / "m.axmodel", tmp_path / "build.log"
    arguments = ("convert", toy_world.model, calibration, "--output", output, "--recipe", "all-u16", "--log", log)
    assert bevformer(*arguments) == 0
    captured = capsys.readouterr()
    assert "4.2-standin" in captured.out
    assert "pulsar2 | 2 File(s) Loaded." in captured.err
    assert "Network Quantization Finished." in log.read_text()
    facts = json.loads((tmp_path / "wörk" / "m.axmodel.json").read_text())
    assert facts["recipe"] == "all-u16"
    assert facts["max_cycle"]
    assert sorted(path.name for path in output.parent.iterdir()) == ["m.axmodel", "m.axmodel.json"]
    inferred = ("infer", output, config_json, toy_world.scenes_root, "--output-dir", tmp_path / "results")
    assert bevformer(*inferred, "--runtime", "pulsar2", "--no-images", "--no-video", "--end-scene", "1") == 0
    assert list((tmp_path / "results").rglob("*.json"))


def test_cycles_by_layer_and_the_builds_own_files(
    toy_world: ToyWorld,
    calibration: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STANDIN_PULSAR2_VERSION", "7.0-standin")
    arguments = ("convert", toy_world.model, calibration, "--output", tmp_path / "m.axmodel", "--recipe", "w8a16")
    assert bevformer(*arguments, "--profile", "--keep-build", tmp_path / "build") == 0
    out = capsys.readouterr().out
    assert "time on a card, estimated" in out
    assert "cycles by layer, the first 20 of" in out
    assert "toy/outputs_coords" in out
    assert "finding: quant.calibration_method: MSE had no effect" in out
    assert (tmp_path / "build/quant/quant_axmodel.json").is_file()
    assert bevformer(*arguments, "--keep-build", tmp_path / "build") == 1
    assert "exists; name a new folder" in capsys.readouterr().err


def test_findings_are_shown(
    toy_world: ToyWorld, calibration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("quant: {layer_configs: [{op_type: Relu, data_type: U16}]}\n")
    arguments = ("convert", toy_world.model, calibration, "--output", tmp_path / "m.axmodel", "--overrides", mine)
    assert bevformer(*arguments) == 0
    assert "finding: layer_configs.0 (Relu: U16): no operator of type Relu was built" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "AX999"), "target 'AX999' is not known"),
        (("--npu-mode", "NPU4"), "npu_mode NPU4: AX650 has NPU1, NPU2, NPU3"),
        (("--converter", "magic"), "converter 'magic' is not known; use one of: onnxruntime, pulsar2"),
        (("--converter", "onnxruntime", "--recipe", "int8"), "converter onnxruntime: has no recipe"),
        (("--device", "cuda"), "leave device and threads out"),
    ],
)
def test_wrong_options(
    options: tuple[str, ...],
    message: str,
    toy_world: ToyWorld,
    calibration: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ("convert", toy_world.model, calibration, "--output", tmp_path / "out" / "m.axmodel", *options)
    assert bevformer(*arguments) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_with_onnx_runtime(toy_world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    arguments = ("convert", toy_world.model, calibration, "--output", tmp_path / "int8.onnx")
    assert bevformer(*arguments, "--converter", "onnxruntime") == 0
    assert (tmp_path / "int8.onnx").is_file()


def test_with_the_emulator(
    toy_world: ToyWorld, calibration: Path, config_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "emulated.onnx"
    arguments = ("convert", toy_world.model, calibration, "--output", output, "--converter", "emulator")
    assert bevformer(*arguments, "--recipe", "int8") == 0
    assert "all tensors rounded" in capsys.readouterr().out
    facts = json.loads((tmp_path / "emulated.onnx.json").read_text())
    assert {tensor["format"] for tensor in facts["tensors"]} == {"U8", "S8"}
    inferred = ("infer", output, config_json, toy_world.scenes_root, "--output-dir", tmp_path / "results")
    assert bevformer(*inferred, "--no-images", "--no-video", "--end-scene", "1") == 0
    assert bevformer(*arguments, "--recipe", "int8", "--image", "pulsar2:7.0") == 1
    assert "converter emulator: has no image; leave that out" in capsys.readouterr().err
