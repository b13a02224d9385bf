"""Average pooling without padding says that it counts padding: the only setting that the NPU's converter takes.

before::

    y = AveragePool(x, kernel_shape=[2, 2], strides=[2, 2], count_include_pad=0)

after::

    y = AveragePool(x, kernel_shape=[2, 2], strides=[2, 2], count_include_pad=1)

Where nothing is padded, both divide by the same number. Where something is, or where ``ceil_mode`` lets a window hang
over the edge, the place is refused.
"""

from __future__ import annotations

import onnx

from bevformer_lib.export.graph import STANDARD_DOMAINS, attributes, node_label
from bevformer_lib.export.passes.base import PassResult, Refusal


def apply(model: onnx.ModelProto) -> PassResult:
    """Set ``count_include_pad`` wherever it has no effect.

    Returns:
        The rewritten graph, the number of nodes changed, and why others were not.
    """
    candidates = {index: why_not(node) for index, node in enumerate(model.graph.node) if _is_candidate(node)}
    refusals = tuple(
        Refusal(node_label(model.graph.node[index]), model.graph.node[index].op_type, reason)
        for index, reason in candidates.items()
        if reason is not None
    )
    if len(refusals) == len(candidates):
        return PassResult(model, 0, refusals)
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    for index, reason in candidates.items():
        if reason is None:
            node = rewritten.graph.node[index]
            kept = [entry for entry in node.attribute if entry.name != "count_include_pad"]
            written = [*kept, onnx.helper.make_attribute("count_include_pad", 1)]
            del node.attribute[:]
            node.attribute.extend(written)
    return PassResult(rewritten, len(candidates) - len(refusals), refusals)


def why_not(node: onnx.NodeProto) -> str | None:
    """Return why counting the padding would change an average, or ``None`` where it would not."""
    given = attributes(node)
    if any(given.get("pads", [])):
        return f"its padding {given['pads']} would count"
    if given.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return f"auto_pad {given['auto_pad']!r} may pad"
    if given.get("ceil_mode", 0):
        return "ceil_mode lets a window hang over the edge"
    return None


def _is_candidate(node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "AveragePool"
        and node.domain in STANDARD_DOMAINS
        and attributes(node).get("count_include_pad", 0) == 0
    )
