"""Conversions by a stand-in that does what third parties saw 6.0 and 7.0 do: traps that the product has to name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bevformer_lib.backends.converters import open_converter
from bevformer_lib.emulator.converter import EmulatorOptions
from bevformer_lib.pulsar2 import build, recipes
from bevformer_lib.pulsar2.converter import Pulsar2Conversion, Pulsar2Options
from bevformer_lib.pulsar2.errors import BuildConfigError, BuildFailedError
from bevformer_lib.pulsar2.quantization_record import numbers_sha256, read_record
from tests.pulsar2.support import convert
from tests.support.calibration import ToyWorld


@pytest.fixture
def seven(native: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STANDIN_PULSAR2_VERSION", "7.0-standin")
    return native


def _overrides(folder: Path, *layers: str, more: str = "") -> Path:
    path = folder / "mine.yaml"
    path.write_text("quant:\n  layer_configs:\n" + "".join(f"    - {layer}\n" for layer in layers) + more)
    return path


def test_requests_that_7_does_not_grant_are_named_with_their_reason(
    seven: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    mine = _overrides(
        tmp_path,
        "{op_types: [Softmax], data_type: FP32}",
        "{op_types: [onnx.FullyConnected], data_type: U16}",
        "{op_types: [MatMul, Mul], data_type: S16}",
    )
    findings = convert(world, calibration, tmp_path / "m.axmodel", overrides=mine).findings
    said = "\n".join(findings)
    assert "layer_configs.0: FP32 ignored for Softmax '" in said
    assert "layer_configs.1 (onnx.FullyConnected: U16)" in said
    assert "layer_configs.2" not in said  # the Reshape behind 'toy/scaled' is in mid-graph, and forces nothing
    # A FullyConnected is made of a Gemm here, which nobody asked for.
    assert "toy/layer0.classes" not in said


def test_a_method_that_changes_nothing_is_found_by_the_scales(
    seven: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def converted(version: str) -> tuple[str, ...]:
        monkeypatch.setenv("STANDIN_PULSAR2_VERSION", version)
        mine = tmp_path / "mine.yaml"
        mine.write_text("quant: {calibration_method: MSE}\n")
        options = Pulsar2Options(recipe="int8", overrides=mine)
        result = open_converter("pulsar2", pulsar2=options).convert(world.model, calibration, tmp_path / "m.axmodel")
        assert isinstance(result, Pulsar2Conversion)
        return result.findings

    (finding,) = converted("7.0-standin")
    assert finding.startswith("quant.calibration_method: MSE had no effect: ")
    assert "scales are those of MinMax over the same samples" in finding
    assert converted("4.2-standin") == ()


def test_names_that_are_fused_cost_one_more_build_and_no_third(
    seven: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failed build's graph says of all layers at once whether they are there."""
    layers = ["toy/seen", "toy/moved", "toy/stem.relu", "toy/gone", "toy/context"]
    monkeypatch.setattr(recipes, "float_layers_behind", lambda graph, tensor: layers)
    lines: list[str] = []
    conversion = convert(world, calibration, tmp_path / "m.axmodel", recipe="vendor-tiny", on_line=lines.append)
    assert sum("Building onnx" in line for line in lines) == 2
    said = "\n".join(conversion.findings)
    assert "no operator 'toy/gone' when it was looked for; left out" in said
    assert "no operator 'toy/stem.relu'" in said
    assert "asked for by the names of fused operators: 'toy/seen' as 'op_" in said
    (asked,) = conversion.facts["config"]["quant"]["layer_configs"]
    assert [name.split(":")[-1] for name in asked["layer_names"]] == ["toy/seen", "toy/moved", "toy/context"]


def test_without_a_graph_of_the_failed_build_the_second_one_may_fail_and_is_the_last(
    seven: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "float_layers_behind", lambda graph, tensor: ["toy/gone", "toy/lost", "toy/context"])
    monkeypatch.setattr(build, "read_graph_of_build", lambda folder, files: None)
    lines: list[str] = []
    with pytest.raises(BuildFailedError, match=r"did not tell that toy/lost would be gone; use a recipe that names"):
        convert(world, calibration, tmp_path / "m.axmodel", recipe="vendor-tiny", on_line=lines.append)
    assert sum("Building onnx" in line for line in lines) == 2


def test_a_type_that_fails_the_build_fails_it_with_the_tools_words(
    seven: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    mine = _overrides(tmp_path, "{layer_names: [toy/seen], data_type: U16}")
    with pytest.raises(BuildFailedError, match=r"layer_name \[toy/seen\] not found in graph"):
        convert(world, calibration, tmp_path / "m.axmodel", overrides=mine)


def test_every_layer_has_its_precision_though_the_table_cuts_names(
    seven: Path, world: ToyWorld, calibration: Path, tmp_path: Path
) -> None:
    facts = convert(world, calibration, tmp_path / "m.axmodel", keep_build=tmp_path / "build", profile=True).facts
    table = (tmp_path / "build/quant/debug/precision_analysis_table.txt").read_text(encoding="utf-8")
    rows = {row["operator"]: row for row in facts["precision_table"]}
    assert "toy/history" in rows
    assert not any(name.startswith("op_") or "…" in name for name in rows)
    assert rows["toy/history"]["cosine"] is not None
    assert "op_" in table
    cycles = {row["layer"]: row["cycles"] for row in facts["layer_cycles"]}
    assert cycles.keys() == rows.keys()
    assert all(value >= 1200 for value in cycles.values())
    low, high = facts["estimated_ms"]
    assert (low, high) == pytest.approx((facts["max_cycle"][0] * 1.05e-6, facts["max_cycle"][0] * 1.17e-6))


def test_builds_are_compared_by_their_numbers(seven: Path, world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    first = convert(world, calibration, tmp_path / "a.axmodel", keep_build=tmp_path / "a").facts
    second = convert(world, calibration, tmp_path / "b.axmodel").facts
    other = convert(world, calibration, tmp_path / "c.axmodel", recipe="all-u16").facts
    assert first["numbers_sha256"] == second["numbers_sha256"] != other["numbers_sha256"]
    record = read_record(tmp_path / "a").path
    content = json.loads(record.read_text())
    for number, tensors in enumerate(content["tensor_configs"].values()):
        for entry in tensors.values():
            content["values"][f"{number}000{entry['hash']}"] = content["values"][str(entry["hash"])]
            entry["hash"] = entry["dominator"] = f"{number}000{entry['hash']}"
    record.chmod(0o644)
    record.write_text(json.dumps(content))
    assert numbers_sha256(record) == first["numbers_sha256"]
    emulated = open_converter("emulator", emulator=EmulatorOptions(recipe="int8", build=tmp_path / "a")).convert(
        world.model, calibration, tmp_path / "replayed.onnx"
    )
    assert emulated.facts["findings"][0].startswith("0 of ")  # type: ignore[attr-defined]


def test_files_of_the_containers_root_user_are_the_callers_afterwards(
    docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_DOCKER_OWNER", "4242")
    output = tmp_path / "out" / "m.axmodel"
    convert(world, calibration, output, image="pulsar2:7.0", keep_build=tmp_path / "build")
    written = [output, *(tmp_path / "build").rglob("*")]
    assert {path.stat().st_uid for path in written} == {os.getuid()}
    assert [path.name for path in output.parent.iterdir()] == ["m.axmodel"]


def test_the_definition_inside_the_image_decides(
    docker: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = tmp_path / "image/opt/pulsar2/axnn/yamain/config/build_config.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text("message QuantConfig { int32 other = 1; } message BuildConfig { QuantConfig quant = 1; }")
    monkeypatch.setenv("STANDIN_DOCKER_FILES", str(tmp_path / "image"))
    message = r"quant\.input_configs: message QuantConfig has no such field \(the installed build_config\.proto\)"
    with pytest.raises(BuildConfigError, match=message):
        convert(world, calibration, tmp_path / "m.axmodel", image="pulsar2:7.0")


def test_4_knows_no_cascades_and_7_does(
    native: Path, world: ToyWorld, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("input_processors: [{tensor_name: img, scale: 1.0, zeropoint: 0}]\n")
    with pytest.raises(BuildConfigError, match=r"input_processors\.scale: Pulsar2 4\.2-standin does not know"):
        convert(world, calibration, tmp_path / "m.axmodel", overrides=mine)
    monkeypatch.setenv("STANDIN_PULSAR2_VERSION", "7.0-standin")
    assert convert(world, calibration, tmp_path / "m.axmodel", overrides=mine).findings == ()
