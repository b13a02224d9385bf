"""Names for tensors inside the graph, which stay the same from the PyTorch model to the finished file.

Precision settings, per-layer reports and comparisons refer to them. While a model is traced and rewritten, the named
tensors are outputs of the graph, so that no rewrite may merge or rename them; the finished graph has its own outputs
only, and :func:`with_intermediate_outputs` makes the named tensors outputs again where their values are wanted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.graph import static_shape

if TYPE_CHECKING:
    from torch import nn

_TRANSFORMER = "pts_bbox_head.transformer"


@dataclass(frozen=True)
class NamedTensor:
    """A tensor of the model that keeps its name.

    Attributes:
        module: dotted path of the module that puts it out.
        item: which of the module's outputs, where it puts out a list.
    """

    name: str
    module: str
    item: int | None = None


def named_tensors(config: ModelConfig) -> tuple[NamedTensor, ...]:
    """Return the named tensors of a model, in the order in which it computes them.

    ``backbone.stage1`` .. ``stage4`` (B, C_i, H_i, W_i), as far as the neck needs them, counted as in the weights'
    names; ``fpn.level0`` .. (B, C, H_l, W_l), finest first; ``encoder.layer0`` .. (1, cells, C); ``decoder.layer0`` ..
    (1, queries, C).
    """
    stages = range(1, max(config.backbone.out_indices) + 2)
    return (
        *(NamedTensor(f"backbone.stage{stage}", f"img_backbone.layer{stage}") for stage in stages),
        *(NamedTensor(f"fpn.level{level}", "img_neck", item=level) for level in range(config.neck.num_outs)),
        *(
            NamedTensor(f"{part}.layer{layer}", f"{_TRANSFORMER}.{part}.layers.{layer}")
            for part, layers in (("encoder", config.encoder.num_layers), ("decoder", config.decoder.num_layers))
            for layer in range(layers)
        ),
    )


def intermediate_names(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of a model's named tensors, in the order in which it computes them."""
    return tuple(tensor.name for tensor in named_tensors(config))


@contextmanager
def named_tensors_put_out(model: nn.Module, tensors: Sequence[NamedTensor]) -> Iterator[None]:
    """Make ``model``, while the block runs, return the named tensors after its own outputs."""
    found: dict[str, Any] = {}

    def keep(tensor: NamedTensor) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found[tensor.name] = output if tensor.item is None else output[tensor.item]

        return hook

    def append(module: nn.Module, inputs: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*output, *(found.pop(tensor.name) for tensor in tensors))

    handles = [model.get_submodule(tensor.module).register_forward_hook(keep(tensor)) for tensor in tensors]
    handles.append(model.register_forward_hook(append))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def with_intermediate_outputs(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return a copy of a graph that puts out tensors of its inside too, after its own outputs.

    Args:
        model: an exported graph; it is not modified.
        names: of the tensors, see :func:`intermediate_names`. One that the graph puts out already stays where it is.

    Raises:
        ExportError: the graph has no such tensor, or its shape is not known.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outputs = {value.name for value in copy.graph.output}
    known = _known_values(copy, [name for name in names if name not in outputs])
    copy.graph.output.extend(known.values())
    return copy


def drop_outputs(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Make, in place, outputs of these names inner tensors; their types and shapes stay on record."""
    kept = [value for value in graph.output if value.name not in names]
    dropped = [value for value in graph.output if value.name in names]
    recorded = {value.name for value in graph.value_info}
    graph.value_info.extend(value for value in dropped if value.name not in recorded)
    del graph.output[:]
    graph.output.extend(kept)


def _known_values(model: onnx.ModelProto, names: Collection[str]) -> Mapping[str, onnx.ValueInfoProto]:
    """Return type and shape of these tensors, in this order."""
    computed = {name for node in model.graph.node for name in node.output}
    unknown = [name for name in names if name not in computed]
    if unknown:
        raise ExportError(
            f"the graph has no tensor {', '.join(map(repr, unknown))}; export it again from the same model config"
        )
    recorded = {value.name: value for value in model.graph.value_info}
    unfixed = [name for name in names if name not in recorded or static_shape(recorded[name]) is None]
    if unfixed:
        raise ExportError(
            f"the graph does not say what shape {', '.join(map(repr, unfixed))} has; export it again with this version"
        )
    return {name: recorded[name] for name in names}
