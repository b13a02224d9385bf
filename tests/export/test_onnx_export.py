from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bevformer_lib.config.host_geometry import GeometryForm
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import CheckpointError, ExportError, ParityError
from bevformer_lib.export import onnx_export
from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.intermediate_outputs import intermediate_names
from bevformer_lib.export.lint.findings import Waiver
from bevformer_lib.export.lint.run import lint
from bevformer_lib.export.onnx_export import ExportResult, export_onnx, raw_path
from bevformer_lib.export.passes.base import PassResult
from bevformer_lib.export.provenance import read_provenance
from bevformer_lib.files import sha256_of_file
from bevformer_lib.model.camera_sampling import SpatialForm
from bevformer_lib.model.checkpoint import make_checkpoint
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
from tests.export.models import MICRO_CONFIGS, micro_base_config
from tests.support.micro import micro_config


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, config in MICRO_CONFIGS.items():
        make_checkpoint(config(), folder / f"{name}.pth", seed=2)
    return {name: folder / f"{name}.pth" for name in MICRO_CONFIGS}


@pytest.fixture(scope="module", params=list(MICRO_CONFIGS))
def exported(
    request: pytest.FixtureRequest, checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModelConfig, ExportResult, list[tuple[str, int, int]]]:
    config = MICRO_CONFIGS[request.param]()
    events: list[tuple[str, int, int]] = []
    output = tmp_path_factory.mktemp("export") / "x.onnx"
    result = export_onnx(
        config,
        checkpoints[request.param],
        output,
        geometry="graph",  # the vendor's own interface
        on_progress=lambda *event: events.append(event),
    )
    return config, result, events


Exported = tuple[ModelConfig, ExportResult, list[tuple[str, int, int]]]


def test_both_graphs_are_written_and_nothing_else(exported: Exported) -> None:
    _, result, _ = exported
    assert {path.name for path in result.output.parent.iterdir()} == {"x.onnx", "x_raw.onnx"}
    assert result.raw_output == raw_path(result.output)
    assert result.sha256 == sha256_of_file(result.output)
    raw = onnx.load(str(result.raw_output))
    assert len(raw.graph.node) > 1.3 * sum(result.operators.values())


def test_the_graph_is_static_standard_and_of_operator_set_17(exported: Exported) -> None:
    config, result, _ = exported
    model = onnx.load(str(result.output))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert {node.domain for node in model.graph.node} == {""}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    layers, queries = config.decoder.num_layers, config.num_query
    assert list(shapes) == [*INPUT_NAMES, *OUTPUT_NAMES]
    assert list(shapes.values()) == [
        [1, 6, 3, 96, 160],
        [1, 18],
        [1, 6, 4, 4],
        [120, 1, 32],
        [120, 1, 32],
        [layers, 1, queries, 10],
        [layers, 1, queries, 10],
    ]


def test_the_chips_converter_takes_it_without_waivers(exported: Exported) -> None:
    _, result, _ = exported
    assert (result.lint.chip, result.lint.findings, result.lint.waived) == ("AX650", (), ())


@pytest.mark.parametrize("chip", ["AX620E", "AX637", "M57", "M76H", "AX8850"])
def test_so_do_those_of_the_other_chips(exported: Exported, chip: str) -> None:
    _, result, _ = exported
    findings = lint(onnx.load(str(result.output)), load_chip(chip)).findings
    # About two operators of every BEVFormer the vendor's lists for AX620E contradict each other.
    assert {finding.operator for finding in findings} == set(load_chip(chip).contradicted)


def test_one_chip_lacks_what_no_bevformer_does_without(exported: Exported) -> None:
    _, result, _ = exported
    report = lint(onnx.load(str(result.output)), load_chip("AX615"))
    assert {finding.operator for finding in report.findings} == {"GridSample", "ReduceSum", "Where"}


def test_no_batch_normalisation_is_left_and_named_tensors_are(exported: Exported) -> None:
    config, result, _ = exported
    changes = {report.name: report.changed for report in result.passes}
    deformable_blocks = 6 + 3  # of ResNet-50's third and fourth stage
    assert changes["batch_norm_into_matmul"] == (deformable_blocks if any(config.backbone.stage_with_dcn) else 0)
    graph = onnx.load(str(result.output)).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    assert {name for node in graph.node for name in node.output} >= set(intermediate_names(config))


def test_upsampling_keeps_its_pixels_with_the_accepted_rounding(exported: Exported) -> None:
    config, result, _ = exported
    changes = {report.name: report.changed for report in result.passes}
    assert changes["round_prefer_ceil_resize"] == len(config.neck.in_channels) - 1


def test_the_parity_check_covers_every_output_of_every_frame(exported: Exported) -> None:
    _, result, _ = exported
    assert [(figure.frame, figure.output) for figure in result.parity.figures] == [
        (frame, output) for frame in range(3) for output in OUTPUT_NAMES
    ]
    assert all(result.parity.worst(output) <= 1e-4 for output in OUTPUT_NAMES)
    assert min(result.parity.history_effect, result.parity.motion_effect) > 1e-3


def test_the_file_says_where_it_comes_from(exported: Exported, checkpoints: dict[str, Path]) -> None:
    config, result, _ = exported
    provenance = read_provenance(result.output)
    assert provenance == result.provenance == read_provenance(result.raw_output)
    assert provenance.checkpoint_sha256 == sha256_of_file(checkpoints[provenance.checkpoint_name.removesuffix(".pth")])
    assert provenance.config_digest == config.digest()
    assert provenance.versions.keys() >= {"torch", "onnx", "onnxsim", "onnxruntime"}


def test_every_stage_is_announced_and_timed(exported: Exported) -> None:
    _, result, events = exported
    stages = [what.removeprefix("export: ") for what, done, _ in events if what.startswith("export: ") and not done]
    assert stages == ["load", "trace", "passes", "check", "parity check"]
    assert list(result.seconds) == stages
    assert all(seconds > 0 for seconds in result.seconds.values())


def test_the_same_checkpoint_gives_the_same_bytes(
    exported: Exported, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    config, result, _ = exported
    checkpoint = checkpoints[result.provenance.checkpoint_name.removesuffix(".pth")]
    again = export_onnx(config, checkpoint, tmp_path / "x.onnx", geometry="graph")
    assert again.sha256 == result.sha256
    assert sha256_of_file(again.raw_output) == sha256_of_file(result.raw_output)


def _spoil(scale: float) -> Callable[[onnx.ModelProto], PassResult]:
    """A rewrite that is wrong: it scales the weight of the last convolution of the backbone."""

    def apply(model: onnx.ModelProto) -> PassResult:
        last = [node for node in model.graph.node if node.op_type == "Conv" and "backbone" in node.name][-1]
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == last.input[1])
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(scale), tensor.name))
        return PassResult(model, 1)

    return apply


def _export_with(
    passes: dict[str, Any], checkpoints: dict[str, Path], output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_PROVEN_PASSES", {**onnx_export._PROVEN_PASSES, **passes})
    export_onnx(micro_config(), checkpoints["tiny"], output)


def test_a_failed_parity_check_names_output_and_frame_and_leaves_nothing(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ParityError, match=r"output 'bev_embed' of frame 0 is off by \d\.\d\de-\d\d"):
        _export_with({"spoil": _spoil(1.05)}, checkpoints, tmp_path / "x.onnx", monkeypatch)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_an_earlier_one_as_it_was(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x.onnx", "x_raw.onnx"):
        (tmp_path / name).write_text(f"earlier {name}")
    with pytest.raises(ParityError):
        _export_with({"spoil": _spoil(1.05)}, checkpoints, tmp_path / "x.onnx", monkeypatch)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "x.onnx": "earlier x.onnx",
        "x_raw.onnx": "earlier x_raw.onnx",
    }


def test_an_interruption_leaves_nothing(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(model: onnx.ModelProto) -> PassResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _export_with({"interrupt": interrupt}, checkpoints, tmp_path / "x.onnx", monkeypatch)
    assert list(tmp_path.iterdir()) == []


def _no_nan(model: onnx.ModelProto) -> PassResult:
    """Put IsNaN, which the converter does not know, before the graph's first output; its values stay."""
    graph = model.graph
    output = graph.output[0].name
    producer = next(node for node in graph.node if output in node.output)
    producer.output[list(producer.output).index(output)] = "held"
    zero = numpy_helper.from_array(np.zeros((), np.float32), "zero")
    graph.initializer.append(zero)
    graph.node.append(onnx.helper.make_node("IsNaN", ["held"], ["nan"], "is_nan"))
    graph.node.append(onnx.helper.make_node("Where", ["nan", "zero", "held"], [output], "no_nan"))
    return PassResult(model, 1)


def test_what_the_converter_was_seen_to_refuse_stops_the_export_unless_it_is_waived(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "x.onnx"
    with pytest.raises(ExportError, match="the converter for AX650 won't accept the graph") as caught:
        _export_with({"no_nan": _no_nan}, checkpoints, output, monkeypatch)
    assert "[fails] IsNaN 'is_nan'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    result = export_onnx(micro_config(), checkpoints["tiny"], output, waivers=[Waiver("fails")])
    assert {finding.operator for finding in result.lint.waived} == {"IsNaN"}
    assert result.lint.errors == ()


@pytest.mark.parametrize("spatial", ["dense", "visible"])
@pytest.mark.parametrize("geometry", ["host", "graph"])
def test_no_chip_objects_to_any_form_of_the_graph(
    checkpoints: dict[str, Path], tmp_path: Path, geometry: GeometryForm, spatial: SpatialForm
) -> None:
    export_onnx(micro_config(), checkpoints["tiny"], tmp_path / "x.onnx", geometry=geometry, spatial=spatial)
    graph = onnx.load(str(tmp_path / "x.onnx"))
    for chip in map(load_chip, ("AX650", "AX620E", "AX637", "M57", "M76H", "AX8850")):
        findings = lint(graph, chip).findings
        assert {finding.operator for finding in findings} == set(chip.contradicted), [str(found) for found in findings]
    assert [finding.rule for finding in lint(graph, load_chip("AX8860")).findings] == ["no-list"]


def test_a_checkpoint_of_another_model_is_refused_before_anything_is_written(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"tiny\.pth does not fit"):
        export_onnx(micro_base_config(), checkpoints["tiny"], tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"suffix \.onnx"):
        export_onnx(micro_config(), checkpoints["tiny"], tmp_path / "x.axmodel")
