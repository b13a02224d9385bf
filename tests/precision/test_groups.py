from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from bevformer_lib.convert.selection import select_nodes
from bevformer_lib.export.macs import node_macs
from bevformer_lib.precision.groups import group_name, layer_groups
from tests.support.toy_graph import write_toy_graph


@pytest.mark.parametrize(
    ("layer", "group"),
    [
        ("/img_backbone/conv1/Conv", "backbone.stem"),
        ("/img_backbone/layer3/layer3.5/conv3/Conv", "backbone.layer3"),
        ("/img_neck/fpn_convs.0/conv/Conv", "fpn"),
        ("/pts_bbox_head/can_bus_mlp/can_bus_mlp.2/Gemm", "can_bus"),
        ("/pts_bbox_head/encoder/layers.0/attentions.0/attention_weights/MatMul", "encoder.0.temporal"),
        ("/pts_bbox_head/encoder/layers.12/attentions.1/sampling_offsets/MatMul", "encoder.12.spatial"),
        ("/pts_bbox_head/encoder/layers.0/ffns.0/layers/layers.0/layers.0.0/MatMul", "encoder.0.ffn"),
        ("/pts_bbox_head/decoder/layers.2/attentions.1/Conv", "decoder.2"),
        ("/pts_bbox_head/decoder/reg_branches.0/reg_branches.0.4/MatMul", "head.boxes"),
        ("/pts_bbox_head/cls_branches.1/cls_branches.1.6/MatMul", "head.classes"),
        ("/pts_bbox_head/transformer/encoder/layers.1/attentions.0/value_proj/MatMul", "encoder.1.temporal"),
        ("/pts_bbox_head/transformer/decoder/reg_branches.0/reg_branches.0.4/MatMul", "head.boxes"),
        ("/encoder/layers.0/attentions.0/value_proj/MatMul", "encoder.0.temporal"),
        ("/encoder/layers.2/norms.2/LayerNormalization", "encoder.2.ffn"),
        ("/encoder/projection/MatMul", "geometry"),
        ("/rotation/GridSample", "geometry"),
        ("/decoder/MatMul_4", "head.boxes"),
        ("/decoder/reg_branches.0.2/MatMul", "head.boxes"),
        ("/cls_branches.0/cls_branches.0.1/LayerNormalization", "head.classes"),
        ("/can_bus_mlp/norm/LayerNormalization", "can_bus"),
        ("/Concat_8", "head"),
        ("toy/layer1.value", "toy/layer1.value"),
    ],
)
def test_a_layer_belongs_to_its_module(layer: str, group: str) -> None:
    assert group_name(layer) == group


def test_multiply_accumulates(tmp_path: Path) -> None:
    model = onnx.load(write_toy_graph(tmp_path / "toy.onnx"))
    macs = node_macs(model)
    assert macs["toy/stem"] == 6 * 32 * (12 * 20) * (3 * 8 * 8)
    assert macs["toy/history"] == 120 * 32 * 32
    assert macs["toy/seen"] == 192 * 32
    assert macs["toy/layer0.scores"] == 30 * 32 * 120
    layers = select_nodes(model.graph).layers
    groups = layer_groups(model, layers)
    assert [group.name for group in groups] == list(layers)
    assert {group.name: group.macs for group in groups} == {layer: macs[layer] for layer in layers}


def test_what_the_simplifier_made_belongs_to_the_module_before_it() -> None:
    layers = ("/img_neck/Resize", "Slice_15", "/img_neck/Add")
    [group] = layer_groups(onnx.ModelProto(), layers)
    assert (group.name, group.layers) == ("fpn", layers)
