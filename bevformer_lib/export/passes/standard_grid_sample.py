"""Custom-domain grid sampling becomes the standard operator.

Exporters for operator sets older than 16 had no standard ``GridSample`` and wrote one of their own:

before::

    y = com.microsoft::GridSample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=0)
    y = mmcv::grid_sampler(x, grid, interpolation_mode=0, padding_mode=0, align_corners=0)

after::

    y = GridSample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=0)

A graph that imports an older operator set is first converted to :data:`~bevformer_lib.export.graph.OPSET`, since the
standard operator exists from 16 on. The import of a domain that no node uses any longer is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import onnx
import onnx.version_converter

from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import OPSET, STANDARD_DOMAINS, attributes, default_opset, node_label
from bevformer_lib.export.passes.base import PassResult, Refusal

_FIRST_OPSET: Final = 16
_FIRST_OPSET_OF_NEW_NAMES: Final = 20
_NEW_NAMES: Final[Mapping[str, str]] = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}

_OPERATORS: Final = frozenset({"GridSample", "GridSampler", "grid_sample", "grid_sampler", "grid_sampler_2d"})
_MODES: Final = ("bilinear", "nearest", "bicubic")
_PADDING_MODES: Final = ("zeros", "border", "reflection")
"""Both in the order of PyTorch's integer codes, which some exporters write instead of names."""

_ATTRIBUTE_NAMES: Final[Mapping[str, str]] = {
    "mode": "mode",
    "interpolation_mode": "mode",
    "padding_mode": "padding_mode",
    "align_corners": "align_corners",
}


def apply(model: onnx.ModelProto) -> PassResult:
    """Replace every custom-domain grid sampling that has a standard equal.

    Returns:
        The rewritten graph, the number of nodes replaced, and why others were not.

    Raises:
        ExportError: the graph's operator set is older than the standard operator and can't be converted.
    """
    if not any(_is_candidate(node) for node in model.graph.node):
        return PassResult(model, 0)
    refusals = tuple(
        Refusal(node_label(node), f"{node.domain}::{node.op_type}", reason)
        for node in model.graph.node
        if _is_candidate(node) and (reason := why_not(node)) is not None
    )
    if len(refusals) == sum(_is_candidate(node) for node in model.graph.node):
        return PassResult(model, 0, refusals)
    rewritten = _with_grid_sample(model)
    changed = 0
    for node in rewritten.graph.node:
        if _is_candidate(node) and why_not(node) is None:
            _standardise(node, default_opset(rewritten))
            changed += 1
    _drop_unused_domains(rewritten)
    return PassResult(rewritten, changed, refusals)


def why_not(node: onnx.NodeProto) -> str | None:
    """Return why a custom grid sampling has no standard equal, or ``None`` where it has one."""
    if len(node.input) != 2 or len(node.output) != 1:
        return f"it takes {len(node.input)} inputs and gives {len(node.output)} outputs; GridSample takes 2 and gives 1"
    given = attributes(node)
    unknown = sorted(set(given) - set(_ATTRIBUTE_NAMES))
    if unknown:
        return f"attribute {unknown[0]!r} has no counterpart in GridSample"
    if "mode" in given and "interpolation_mode" in given:
        return "both 'mode' and 'interpolation_mode' are given"
    try:
        _standard_attributes(given)
    except ValueError as error:
        return str(error)
    return None


def _is_candidate(node: onnx.NodeProto) -> bool:
    return node.domain not in STANDARD_DOMAINS and node.op_type in _OPERATORS


def _standard_attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    named = {_ATTRIBUTE_NAMES[name]: value for name, value in given.items()}
    align_corners = named.get("align_corners", 0)
    if align_corners not in (0, 1):
        raise ValueError(f"align_corners is {align_corners!r}, neither 0 nor 1")
    return {
        "mode": _name_of("mode", named.get("mode", 0), _MODES),
        "padding_mode": _name_of("padding_mode", named.get("padding_mode", 0), _PADDING_MODES),
        "align_corners": align_corners,
    }


def _name_of(attribute: str, value: Any, names: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    raise ValueError(f"{attribute} {value!r} is none of {', '.join(names)}")


def _with_grid_sample(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose operator set has GridSample."""
    if default_opset(model) < _FIRST_OPSET:
        try:
            return onnx.version_converter.convert_version(model, OPSET)
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            raise ExportError(
                f"the graph of operator set {default_opset(model)} can't be converted to {OPSET}, which has "
                f"GridSample: {error}; export it again with operator set {OPSET}"
            ) from error
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _standardise(node: onnx.NodeProto, opset: int) -> None:
    standard = _standard_attributes(attributes(node))
    if opset >= _FIRST_OPSET_OF_NEW_NAMES:
        standard["mode"] = _NEW_NAMES[standard["mode"]]
    node.op_type, node.domain = "GridSample", ""
    del node.attribute[:]
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in standard.items())


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    used = {node.domain for node in model.graph.node} | {function.domain for function in model.functions}
    kept = [entry for entry in model.opset_import if entry.domain in STANDARD_DOMAINS or entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
