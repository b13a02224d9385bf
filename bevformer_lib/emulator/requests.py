"""What ``layer_configs`` ask of the layers of a graph, and what of it the converter grants.

A layer's name counts before its type, and its type before a subgraph; among equals the last request counts. What the
converter was seen to drop without a word is dropped here too, and said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import onnx

from bevformer_lib.emulator.formats import FP32, S8, S16, U8, coarsest
from bevformer_lib.emulator.fusion import Layer
from bevformer_lib.emulator.operators import MOVEMENT, WEIGHTED
from bevformer_lib.pulsar2.build_config import DEFAULT_TENSORS, MOST_NAMED, LayerConfig
from bevformer_lib.pulsar2.subgraph import tensors_between
from bevformer_lib.pulsar2.versions import DIALECTS

_EMULATED: Final = DIALECTS[-1]
"""The version whose behaviour is emulated: the only one that was measured in full."""
_NOT_KNOWN_TO_BE_FLOAT: Final = frozenset({"Softmax"})
"""Documented for FP32, which had no effect in the version before; what was not seen is not promised."""
_SEEN_SIGNED: Final = frozenset({"MatMul", "Mul"})


@dataclass(frozen=True)
class LayerTypes:
    """The formats of a layer; a signed one stands for itself and is chosen by role where it is not asked for.

    Attributes:
        data: of what it reads.
        output: of what it puts out.
        weight: ``S8`` or ``FP32``.
    """

    data: str = U8
    output: str = U8
    weight: str = S8


def resolve(
    layers: Sequence[Layer], graph: onnx.GraphProto, requests: Sequence[LayerConfig]
) -> tuple[dict[str, LayerTypes], list[str]]:
    """Return the types of every layer by the name of its first output, and what should be known about the requests."""
    findings: list[str] = []
    chosen: dict[str, tuple[int, int]] = {}
    biases = _bias_adds(layers)
    for place, request in enumerate(requests):
        selected = list(_selected(request, layers, graph, biases))
        findings += [f"{_what(place, request)}: {text}" for text in _unselected(request, layers, selected)]
        for node in selected:
            name = node.output[0]
            chosen[name] = max(chosen.get(name, (0, -1)), (request.rank, place))
    grants = _Grants(requests)
    types = {}
    for layer in layers:
        main = chosen.get(layer.main.output[0])
        found = LayerTypes() if main is None else grants.types(main[1], layer)
        if layer.bias is not None:
            # Of a product and its bias, the one that was not asked for decides.
            asked = chosen.get(layer.bias.output[0])
            bias = LayerTypes() if asked is None else grants.types(asked[1], layer)
            if main is not None and coarsest(found.output, bias.output) != found.output:
                grants.left_behind(main[1], layer.bias)
            found = replace(found, output=coarsest(found.output, bias.output))
        types[layer.outputs[0]] = found
    return types, findings + grants.findings()


class _Grants:
    """Collects, request by request, which layers did not get what was asked."""

    def __init__(self, requests: Sequence[LayerConfig]) -> None:
        self._requests = requests
        self._notes: dict[tuple[int, str], list[str]] = {}

    def types(self, place: int, layer: Layer) -> LayerTypes:
        request = self._requests[place]
        kind, name = layer.main.op_type, layer.main.name
        data = output = request.data_type or U8
        if request.data_type == FP32 and (problem := _float_problem(kind)):
            self._note(place, problem, name)
            data = output = U8
        if request.output_data_type is not None:
            if kind == "MatMul" and request.output_data_type != output:
                self._note(place, "output_data_type has no effect on MatMul", name)
            elif request.output_data_type == FP32 and kind != "Conv" and (problem := _float_problem(kind)):
                self._note(place, problem, name)
                output = U8
            else:
                output = request.output_data_type
        if {data, output} & {S8, S16} and kind not in _SEEN_SIGNED:
            self._note(place, f"signed numbers were never measured on {kind}; taken as granted", name)
        weight = request.weight_data_type or S8
        if weight == FP32:
            self._note(place, "weights in float were never measured; taken as granted", name)
        return LayerTypes(data, output, weight)

    def left_behind(self, place: int, bias: onnx.NodeProto) -> None:
        text = "the Add of its bias is not asked for, so the output keeps the fewer bits; give its name too"
        self._note(place, text, bias.name)

    def findings(self) -> list[str]:
        lines = []
        for (place, text), names in sorted(self._notes.items()):
            lines.append(f"{_what(place, self._requests[place])}: {text}: {_listed(names)}")
        return lines

    def _note(self, place: int, text: str, name: str) -> None:
        names = self._notes.setdefault((place, text), [])
        if name not in names:
            names.append(name)


def _float_problem(kind: str) -> str | None:
    """Return why an operator does not become float for being asked; ``None``: it does."""
    if kind in _NOT_KNOWN_TO_BE_FLOAT:
        return f"FP32 changed no bit of {kind} in 6.0, and nobody saw 7.0 do otherwise; not applied here"
    if kind in _EMULATED.float_fails:
        return f"FP32 of {kind} makes the vendor's build fail; not applied here"
    if kind == "Conv":
        return "FP32 of Conv has an effect as output_data_type only"
    if kind in _EMULATED.float_ops | MOVEMENT:
        return None
    return f"FP32 is not documented for {kind} and was never seen to be granted; not applied here"


def _selected(
    request: LayerConfig, layers: Sequence[Layer], graph: onnx.GraphProto, biases: Collection[str]
) -> Iterable[onnx.NodeProto]:
    everything = DEFAULT_TENSORS in (request.start_tensor_names or ()) and DEFAULT_TENSORS in (
        request.end_tensor_names or ()
    )
    between = (
        tensors_between(graph, request.start_tensor_names, request.end_tensor_names)
        if request.start_tensor_names and request.end_tensor_names and not everything
        else set()
    )
    for layer in layers:
        for node in (layer.main, layer.bias):
            if node is None:
                continue
            by_type = node.op_type in request.types and node.output[0] not in biases
            if everything or between.intersection(node.output) or node.name in request.layers or by_type:
                yield node


def _bias_adds(layers: Sequence[Layer]) -> set[str]:
    """Return the outputs of nodes that add a constant to a product; requests by type were seen to pass these by."""
    products = {name for layer in layers if layer.main.op_type in WEIGHTED for name in layer.outputs}
    live = {name for layer in layers for name in layer.outputs}
    adds = {layer.bias.output[0] for layer in layers if layer.bias is not None}
    for layer in layers:
        reads = layer.main.input
        if layer.main.op_type == "Add" and products.intersection(reads) and not live.issuperset(reads):
            adds.add(layer.main.output[0])
    return adds


def _unselected(request: LayerConfig, layers: Sequence[Layer], selected: Sequence[onnx.NodeProto]) -> Iterable[str]:
    names, kinds = {node.name for node in selected}, {node.op_type for node in selected}
    inside = {node.name for layer in layers for node in layer.nodes}
    absent = [name for name in request.layers if name not in names]
    for why, gone in (
        ("fused into the one before", [name for name in absent if name in inside]),
        ("fused away, or never there", [name for name in absent if name not in inside]),
    ):
        if gone:
            yield f"not built, since {why}: {_listed(gone)}; the tool may refuse the whole build"
    for kind in request.types:
        if kind not in kinds:
            yield f"no operator of type {kind} is built; the request has no effect"
    if request.start_tensor_names and not selected:
        yield "no operator lies between these tensors; the request has no effect"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _what(place: int, request: LayerConfig) -> str:
    wanted = request.output_data_type or request.data_type or request.weight_data_type
    return f"layer_configs.{place} ({request.describe()}: {wanted})"
