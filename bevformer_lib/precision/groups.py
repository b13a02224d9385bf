"""Groups of layers whose precision is decided together: the modules of a BEVFormer, by node name.

The exporter names a node after the module that it comes from. Groups: ``backbone.stem``, ``backbone.layerN``, ``fpn``,
``can_bus``, ``encoder.K.temporal`` / ``.spatial`` / ``.ffn``, ``decoder.K``, ``head.boxes``, ``head.classes``, and,
where not only learnt layers are quantised, ``geometry`` and ``head`` (what lies between the modules). A layer of
another graph is a group of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from bevformer_lib.export.macs import node_macs

_HEAD: Final = "^/(?:pts_bbox_head/)?(?:transformer/)?"
"""Before the modules of the head; newer exports leave its name out."""
_PATTERNS: Final = tuple(
    (re.compile(pattern.replace("^HEAD/", _HEAD)), name)
    for pattern, name in (
        (r"^/img_backbone/(layer\d+)/", r"backbone.\1"),
        (r"^/img_backbone/", "backbone.stem"),
        (r"^/img_neck/", "fpn"),
        (r"^/Reshape$", "backbone.stem"),
        (r"^HEAD/can_bus_mlp/", "can_bus"),
        (r"^HEAD/(?:encoder/)?(?:shift|rotation|projection)/", "geometry"),
        (r"^HEAD/encoder/[^/]+$", "geometry"),
        (r"^HEAD/decoder/[^/]+$", "head.boxes"),
        (r"^HEAD/encoder/layers\.(\d+)/(?:attentions|norms)\.0/", r"encoder.\1.temporal"),
        (r"^HEAD/encoder/layers\.(\d+)/(?:attentions|norms)\.1/", r"encoder.\1.spatial"),
        (r"^HEAD/encoder/layers\.(\d+)/(?:ffns|norms\.2)", r"encoder.\1.ffn"),
        (r"^HEAD/decoder/layers\.(\d+)/", r"decoder.\1"),
        (r"^HEAD/(?:decoder/)?reg_branches", "head.boxes"),
        (r"^HEAD/(?:decoder/)?cls_branches", "head.classes"),
        (r"^HEAD/[^/]+$", "head"),
    )
)


_SIMPLIFIER: Final = re.compile(r"^[A-Z][A-Za-z]+_\d+$")
"""Names of nodes that the simplifier made, such as Slice_15: they belong to the module of the node before them."""


@dataclass(frozen=True)
class LayerGroup:
    """Layers whose precision is decided together.

    Attributes:
        layers: names of its nodes, in graph order.
        macs: multiply-accumulates of its Conv, Gemm and MatMul nodes for one frame.
        layer_macs: those of every layer; not needed of a group of one.
    """

    name: str
    layers: tuple[str, ...]
    macs: int
    layer_macs: tuple[int, ...] = ()

    def split(self) -> tuple[LayerGroup, ...]:
        """Return every layer as a group of its own; a group of one is itself."""
        if len(self.layers) == 1:
            return (self,)
        return tuple(
            LayerGroup(layer, (layer,), macs) for layer, macs in zip(self.layers, self.layer_macs, strict=True)
        )


def group_name(layer: str) -> str:
    """Return the group of a layer, by its node's name."""
    for pattern, name in _PATTERNS:
        found = pattern.match(layer)
        if found:
            return found.expand(name)
    return layer


def layer_groups(model: onnx.ModelProto, layers: Sequence[str]) -> tuple[LayerGroup, ...]:
    """Group layers, in graph order.

    Args:
        model: the float model, with static shapes.
        layers: names of its nodes that would be quantised.

    Raises:
        ExportError: the shape of a tensor can't be inferred.
    """
    macs = node_macs(model)
    members: dict[str, list[str]] = {}
    group = ""
    for layer in layers:
        of_simplifier = _SIMPLIFIER.match(layer) is not None and group != ""
        if not of_simplifier:
            group = group_name(layer)
        members.setdefault(group, []).append(layer)
    return tuple(_group(name, found, macs) for name, found in members.items())


def _group(name: str, layers: Sequence[str], macs: Mapping[str, int]) -> LayerGroup:
    layer_macs = tuple(macs.get(layer, 0) for layer in layers)
    return LayerGroup(name, tuple(layers), sum(layer_macs), layer_macs)


def operators_after_fusion(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Return the nodes that an NPU's converter quantises: all but a Relu merged into the Conv or Gemm before it."""
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(output.name for output in graph.output)
    merging = {node.output[0] for node in graph.node if node.op_type in ("Conv", "Gemm") and uses[node.output[0]] == 1}
    return tuple(node.name for node in graph.node if node.op_type != "Relu" or node.input[0] not in merging)
