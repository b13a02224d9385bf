"""Calibration sets of a network whose geometry the host computes: an archive per input of the network itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.calibration.extract import extract_quantization_data
from bevformer_lib.calibration.origin import foreign_samples
from bevformer_lib.calibration.pack import archive_name
from bevformer_lib.calibration.prepare import prepare_calibration, prepare_from_quantization_data
from bevformer_lib.calibration.quantization_data import read_quantization_data
from bevformer_lib.convert.onnxruntime import OnnxRuntimeConverter
from bevformer_lib.export.host_geometry import host_geometry_of_graph
from bevformer_lib.export.onnx_export import export_onnx
from bevformer_lib.names import HOST_GEOMETRY_INPUTS, HOST_GEOMETRY_OUTPUTS
from bevformer_lib.pulsar2.generate import generate_build_config
from bevformer_lib.pulsar2.settings import Pulsar2Settings
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from tests.export.models import random_model
from tests.support.calibration import ToyWorld
from tests.support.micro import micro_config


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    torch.save({"state_dict": random_model(micro_config()).state_dict()}, folder / "weights.pth")
    # The scenes of these tests show every cell to all cameras.
    form = {"geometry": "host", "spatial": "visible", "cameras_per_query": 6}
    export_onnx(micro_config(), folder / "weights.pth", folder / "host.onnx", **form)
    return folder / "host.onnx"


def _prepare(world: ToyWorld, graph: Path, output: Path) -> None:
    prepare_calibration(
        list(world.scenes.values()),
        with_host_geometry(OnnxRuntime(graph, threads=1)),
        world.preprocessor,
        output,
        num_samples=3,
        seed=0,
        model_sha256="a" * 64,
        host_geometry=host_geometry_of_graph(graph),
    )


def test_the_set_holds_what_the_network_is_fed(world: ToyWorld, graph: Path, tmp_path: Path) -> None:
    _prepare(world, graph, tmp_path / "set")
    samples = read_calibration(tmp_path / "set")
    assert tuple(samples.tensors) == HOST_GEOMETRY_INPUTS
    manifest = json.loads((tmp_path / "set" / "calibration_manifest.json").read_text())
    assert set(manifest["tensors"]) == set(HOST_GEOMETRY_INPUTS)
    network = OnnxRuntime(graph, threads=1)
    for sample in samples:
        assert np.isfinite(network.run(sample)["bev_embed"]).all()


def test_a_set_of_extracted_frames_is_the_same(world: ToyWorld, graph: Path, tmp_path: Path) -> None:
    _prepare(world, graph, tmp_path / "set")
    runtime = with_host_geometry(OnnxRuntime(graph, threads=1))
    extract_quantization_data(
        list(world.scenes.values()),
        runtime,
        world.preprocessor,
        tmp_path / "data",
        model_sha256="a" * 64,
        config_sha256="b" * 64,
    )
    prepare_from_quantization_data(
        read_quantization_data(tmp_path / "data"),
        tmp_path / "same",
        bev_shape=(120, 1, 32),
        num_samples=3,
        seed=0,
        host_geometry=host_geometry_of_graph(graph),
    )
    for one, other in zip(read_calibration(tmp_path / "set"), read_calibration(tmp_path / "same"), strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in HOST_GEOMETRY_INPUTS)


def test_its_samples_are_known_again(world: ToyWorld, graph: Path, tmp_path: Path) -> None:
    _prepare(world, graph, tmp_path / "set")
    of_set = {"model_sha256": "a" * 64, "compared": 3, "host_geometry": host_geometry_of_graph(graph)}
    assert foreign_samples(tmp_path / "set", world.scenes, world.preprocessor, **of_set) == []
    archive = tmp_path / "set" / archive_name("can_bus")
    archive.unlink()
    found = foreign_samples(tmp_path / "set", world.scenes, world.preprocessor, **of_set)
    assert len(found) == 3
    assert "can_bus is not that of the frame" in found[0]


def test_converters_take_it(world: ToyWorld, graph: Path, tmp_path: Path) -> None:
    _prepare(world, graph, tmp_path / "set")
    config = generate_build_config(
        onnx.load(graph).graph, read_calibration(tmp_path / "set"), Pulsar2Settings(recipe="int8")
    )
    content = config.to_content()
    assert [entry["tensor_name"] for entry in content["quant"]["input_configs"]] == list(HOST_GEOMETRY_INPUTS)
    assert [entry["tensor_name"] for entry in content["output_processors"]] == list(HOST_GEOMETRY_OUTPUTS)
    OnnxRuntimeConverter().convert(graph, tmp_path / "set", tmp_path / "int8.onnx")
    quantised = with_host_geometry(OnnxRuntime(tmp_path / "int8.onnx", threads=1))
    assert tuple(quantised.outputs) == ("bev_embed", "outputs_classes", "outputs_coords")
