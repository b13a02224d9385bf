"""A graph whose geometry the host computes behaves as any other: the same four inputs, the same three outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bevformer_lib.config.host_geometry import HOST_GEOMETRY_KEY
from bevformer_lib.config.inference_config import inference_config_of, read_inference_config, write_inference_config
from bevformer_lib.errors import ConfigError, RuntimeUnavailableError
from bevformer_lib.export.clip import clip_frame
from bevformer_lib.export.host_geometry import host_geometry_of_graph
from bevformer_lib.export.onnx_export import export_onnx
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.names import HOST_GEOMETRY_INPUTS, INPUT_NAMES, OUTPUT_NAMES
from bevformer_lib.runtime.contract import check_graph, check_model
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from tests.export.models import random_model
from tests.support.micro import micro_config


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graphs")
    torch.save({"state_dict": random_model(micro_config()).state_dict()}, folder / "weights.pth")
    for form in ("graph", "host"):
        export_onnx(micro_config(), folder / "weights.pth", folder / f"{form}.onnx", geometry=form)
    without = onnx.load(folder / "host.onnx")
    del without.metadata_props[:]
    onnx.save(without, folder / "as_compiled.onnx")
    return folder


def _outputs(path: Path, *, stated: Path | None = None) -> list[dict[str, np.ndarray]]:
    config = None if stated is None else read_inference_config(stated)
    session = TemporalSession(OnnxRuntime(path, threads=1), stated_geometry=config.host_geometry if config else None)
    return [dict(session.step(clip_frame(micro_config(), i, seed=4), first=i == 0).outputs) for i in range(3)]


def test_the_graph_itself_has_no_calibration_among_its_inputs(graphs: Path) -> None:
    assert tuple(OnnxRuntime(graphs / "host.onnx").inputs) == HOST_GEOMETRY_INPUTS


def test_both_forms_give_the_same_frame_after_frame(graphs: Path) -> None:
    for expected, given in zip(_outputs(graphs / "graph.onnx"), _outputs(graphs / "host.onnx"), strict=True):
        assert tuple(given) == OUTPUT_NAMES
        for name in OUTPUT_NAMES:
            error = np.linalg.norm(given[name] - expected[name]) / np.linalg.norm(expected[name])
            assert error <= 1e-5, name


def test_frames_prepared_ahead_give_the_same_and_leave_no_camera_to_compute(
    graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [clip_frame(micro_config(), number, seed=4) for number in range(3)]
    session = TemporalSession(OnnxRuntime(graphs / "host.onnx", threads=1))
    prepared = [session.prepare(frame) for frame in frames]
    in_turn = _outputs(graphs / "host.onnx")
    monkeypatch.setattr(HostGeometry, "_camera_inputs", None)
    given = [session.step(frame, first=position == 0).outputs for position, frame in enumerate(prepared)]
    for expected, found in zip(in_turn, given, strict=True):
        assert all(np.array_equal(expected[name], found[name]) for name in OUTPUT_NAMES)


def test_a_compiled_model_is_run_as_the_inference_config_says(graphs: Path, tmp_path: Path) -> None:
    geometry = host_geometry_of_graph(graphs / "host.onnx")
    write_inference_config(inference_config_of(micro_config(), None, geometry), tmp_path / "config.json")
    config = read_inference_config(tmp_path / "config.json")
    assert config.host_geometry == geometry
    check_model(OnnxRuntime(graphs / "as_compiled.onnx"), config, graphs / "as_compiled.onnx")
    expected = _outputs(graphs / "host.onnx")
    given = _outputs(graphs / "as_compiled.onnx", stated=tmp_path / "config.json")
    assert all(np.array_equal(e[name], g[name]) for e, g in zip(expected, given, strict=True) for name in OUTPUT_NAMES)


def test_a_compiled_model_without_the_facts_is_refused(graphs: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="extract the inference config with --onnx"):
        TemporalSession(OnnxRuntime(graphs / "as_compiled.onnx"))


def test_facts_of_another_model_are_refused(graphs: Path) -> None:
    geometry = host_geometry_of_graph(graphs / "host.onnx")
    assert geometry is not None
    other = replace(geometry, num_cams=3, cameras_per_query=None)
    with pytest.raises(RuntimeUnavailableError, match="unknown input 'camera_rows'"):
        with_host_geometry(OnnxRuntime(graphs / "as_compiled.onnx"), other)


def test_damaged_facts_are_named(graphs: Path, tmp_path: Path) -> None:
    model = onnx.load(graphs / "host.onnx")
    for entry in model.metadata_props:
        if entry.key == HOST_GEOMETRY_KEY:
            entry.value = "{}"
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match=r"bevformer\.host_geometry is damaged"):
        with_host_geometry(OnnxRuntime(tmp_path / "x.onnx"))


def test_the_contract_holds_for_a_graph_of_the_host(graphs: Path) -> None:
    runtime = with_host_geometry(OnnxRuntime(graphs / "host.onnx"))
    assert tuple(runtime.inputs) == INPUT_NAMES
    check_graph(runtime, micro_config(), graphs / "host.onnx")
    with pytest.raises(ConfigError, match=r"is not the model"):
        check_graph(runtime, replace(micro_config(), num_query=31), graphs / "host.onnx")
