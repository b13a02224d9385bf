"""Rewrites inside the bodies of If, Loop and Scan, which are graphs of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import onnx

from bevformer_lib.export.graph import default_opset, node_label, read_tensors, static_shapes, without_large_weights
from bevformer_lib.export.passes.base import PassResult, Refusal

_OTHER_OPSET: Final = "what is in its bodies takes a newer operator set than the graph around them has"


def apply_everywhere(apply: Callable[[onnx.ModelProto], PassResult], model: onnx.ModelProto) -> PassResult:
    """Apply a rewrite to a graph and to all bodies in it.

    A body may read tensors of the graph around it: they are inputs of a model that is made of the body for the rewrite,
    constants of the graph around it are constants there too, and neither stays in the body.
    """
    result = apply(model)
    if not any(_bodies(node) for node in result.model.graph.node):
        return result
    around = result.model
    copy = onnx.ModelProto()
    copy.CopyFrom(around)
    outer = _Outer(around)
    changed, refusals = result.changed, list(result.refusals)
    for node in copy.graph.node:
        for body in _bodies(node):
            inside = apply_everywhere(apply, outer.as_model(body))
            refusals += inside.refusals
            if inside.changed and default_opset(inside.model) != default_opset(around):
                refusals.append(Refusal(node_label(node), node.op_type, _OTHER_OPSET))
            elif inside.changed:
                changed += inside.changed
                outer.put_back(body, inside.model.graph)
    if changed == result.changed:
        return dataclasses.replace(result, refusals=tuple(refusals))
    return PassResult(copy, changed, tuple(refusals))


class _Outer:
    """The graph around bodies: what they can read, and the names that they can't use."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._values = _declared(model)
        self._taken = set(_names(model.graph))

    def as_model(self, body: onnx.GraphProto) -> onnx.ModelProto:
        """Return a model of a body alone."""
        alone = onnx.ModelProto(ir_version=self._model.ir_version)
        alone.opset_import.extend(self._model.opset_import)
        alone.functions.extend(self._model.functions)
        alone.graph.CopyFrom(body)
        for name in _read_from_outside(body):
            if name in self._constants:
                alone.graph.initializer.append(self._constants[name])
            else:
                value = self._values.get(name) or onnx.helper.make_empty_tensor_value_info(name)
                alone.graph.input.append(value)
        return alone

    def put_back(self, body: onnx.GraphProto, rewritten: onnx.GraphProto) -> None:
        """Let a body be what a rewrite made of it; names that are new there are new everywhere."""
        outside = set(_read_from_outside(body))
        inputs = list(body.input)
        same = {
            tensor.name
            for tensor in rewritten.initializer
            if tensor.name in outside and tensor == self._constants.get(tensor.name)
        }
        known = set(_names(body)) - outside | same
        known |= {value.name for value in rewritten.input}
        renamed = {name: self._free(name) for name in sorted(set(_names(rewritten)) - known) if name in self._taken}
        result = onnx.GraphProto()
        result.CopyFrom(rewritten)
        kept = [tensor for tensor in result.initializer if tensor.name not in same]
        kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del result.initializer[:], result.input[:]
        result.initializer.extend(kept)
        result.input.extend(inputs)
        _rename(result, renamed)
        self._taken.update(_names(result))
        body.CopyFrom(result)

    def _free(self, name: str) -> str:
        number = 1
        while f"{name}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{name}_{number}")
        return f"{name}_{number}"


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [
        graph for entry in node.attribute for graph in (*entry.graphs, *((entry.g,) if entry.HasField("g") else ()))
    ]


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield every name that a graph or a body in it defines or reads."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from filter(None, (*node.input, *node.output))
        for body in _bodies(node):
            yield from _names(body)


def _read_from_outside(body: onnx.GraphProto) -> list[str]:
    """Return what a body reads of the graphs around it, in the order of reading."""
    inside = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    found: dict[str, None] = {}
    for node in body.node:
        own = set(_names_defined_in_bodies(node))
        found.update(dict.fromkeys(name for name in read_tensors(node) if name not in inside and name not in own))
        inside.update(node.output)
    found.update(dict.fromkeys(value.name for value in body.output if value.name not in inside))
    return list(found)


def _names_defined_in_bodies(node: onnx.NodeProto) -> Iterator[str]:
    for body in _bodies(node):
        yield from (value.name for value in body.input)
        yield from (tensor.name for tensor in body.initializer)
        for inner in body.node:
            yield from inner.output
            yield from _names_defined_in_bodies(inner)


def _declared(model: onnx.ModelProto) -> Mapping[str, onnx.ValueInfoProto]:
    """Return the tensors of a graph whose type and shape are known."""
    light = without_large_weights(model)
    inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    shapes = static_shapes(inferred)
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    return {value.name: value for value in values if value.name in shapes}


def _rename(graph: onnx.GraphProto, new: Mapping[str, str]) -> None:
    """Give tensors other names, in place, in a graph and in the bodies in it."""
    for value in (*graph.output, *graph.value_info, *graph.initializer):
        value.name = new.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
        for body in _bodies(node):
            _rename(body, new)
