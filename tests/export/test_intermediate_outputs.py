from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.errors import ExportError
from bevformer_lib.export.clip import clip_frame
from bevformer_lib.export.intermediate_outputs import (
    intermediate_names,
    named_tensors,
    named_tensors_put_out,
    with_intermediate_outputs,
)
from bevformer_lib.export.onnx_export import export_onnx, raw_path
from bevformer_lib.model.bevformer import BEVFormer, build_model
from bevformer_lib.model.camera_sampling import SpatialForm
from bevformer_lib.model.checkpoint import make_checkpoint
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
from tests.export.models import MICRO_CONFIGS

CONFIGS = {name: make() for name, make in MICRO_CONFIGS.items()}


def test_names_of_the_published_models() -> None:
    tiny, base = intermediate_names(PRESETS["tiny"]), intermediate_names(PRESETS["base"])
    assert tiny[:5] == ("backbone.stage1", "backbone.stage2", "backbone.stage3", "backbone.stage4", "fpn.level0")
    assert tiny[5:] == (*(f"encoder.layer{i}" for i in range(3)), *(f"decoder.layer{i}" for i in range(6)))
    assert len(base) == 4 + 4 + 6 + 6
    assert base[4:8] == ("fpn.level0", "fpn.level1", "fpn.level2", "fpn.level3")


def test_the_model_is_as_before_after_the_block() -> None:
    config = CONFIGS["tiny"]
    model, inputs = build_model(config), _inputs(config)
    with torch.no_grad(), named_tensors_put_out(model, named_tensors(config)):
        assert len(model(*inputs)) == len(OUTPUT_NAMES) + len(intermediate_names(config))
    with pytest.raises(KeyError), named_tensors_put_out(model, named_tensors(config)):
        raise KeyError
    with torch.no_grad():
        assert len(model(*inputs)) == len(OUTPUT_NAMES)
    assert not any(module._forward_hooks for module in model.modules())


@dataclasses.dataclass(frozen=True)
class Exported:
    config: ModelConfig
    graph: Path
    model: BEVFormer


@pytest.fixture(
    scope="module", params=[(name, form) for name in CONFIGS for form in ("dense", "visible")], ids="-".join
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    name, spatial = request.param
    config, folder = CONFIGS[name], tmp_path_factory.mktemp("intermediate outputs")
    checkpoint = folder / "weights.pth"
    make_checkpoint(config, checkpoint, seed=0)
    export_onnx(config, checkpoint, folder / "m.onnx", spatial=spatial, geometry="graph")
    yield Exported(config, folder / "m.onnx", _loaded(config, checkpoint, spatial))


def test_names_are_inside_the_final_and_the_raw_graph_and_not_among_the_outputs(exported: Exported) -> None:
    for path in (exported.graph, raw_path(exported.graph)):
        graph = onnx.load(str(path)).graph
        assert [value.name for value in graph.output] == list(OUTPUT_NAMES)
        computed = {name for node in graph.node for name in node.output}
        assert set(intermediate_names(exported.config)) <= computed


def test_named_tensors_have_the_values_of_the_model(exported: Exported) -> None:
    names = intermediate_names(exported.config)
    with_intermediates = with_intermediate_outputs(onnx.load(str(exported.graph)), names)
    onnx.checker.check_model(with_intermediates, full_check=True)
    inputs = _inputs(exported.config)
    session = onnxruntime.InferenceSession(with_intermediates.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {name: tensor.numpy() for name, tensor in zip(INPUT_NAMES, inputs, strict=True)}
    given = dict(zip([*OUTPUT_NAMES, *names], session.run(None, feed), strict=True))
    with torch.no_grad(), named_tensors_put_out(exported.model, named_tensors(exported.config)):
        expected = dict(zip([*OUTPUT_NAMES, *names], exported.model(*inputs), strict=True))
    for name, tensor in expected.items():
        reference = tensor.numpy()
        assert given[name].shape == reference.shape
        assert np.linalg.norm(given[name] - reference) <= 1e-4 * np.linalg.norm(reference), name


def test_a_graph_without_the_tensor_is_refused(exported: Exported) -> None:
    with pytest.raises(ExportError, match=r"no tensor 'encoder\.layer99'; export it again"):
        with_intermediate_outputs(onnx.load(str(exported.graph)), ["encoder.layer0", "encoder.layer99"])


def _loaded(config: ModelConfig, checkpoint: Path, spatial: SpatialForm) -> BEVFormer:
    model = build_model(config, spatial=spatial)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"], strict=True)
    return model


def _inputs(config: ModelConfig) -> tuple[torch.Tensor, ...]:
    frame = clip_frame(config, 1, seed=5)
    history = torch.randn(config.num_bev_cells, 1, config.embed_dims, generator=torch.Generator().manual_seed(5))
    return (*(torch.from_numpy(array) for array in (frame.img, frame.can_bus, frame.lidar2img)), history)
