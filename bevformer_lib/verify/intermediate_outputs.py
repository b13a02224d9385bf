"""Where the original's and our model are looked into; both have the same module names, so one path serves both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import torch
from numpy.typing import NDArray
from torch import nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import VerifyError
from bevformer_lib.export.intermediate_outputs import named_tensors
from bevformer_lib.names import OUTPUT_NAMES

TensorSink: TypeAlias = Callable[[str, NDArray[Any]], None]
"""Called as ``(intermediate output name, array)`` when the tensor has been computed; the array is the sink's own."""

_ATTENTIONS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"encoder": ("temporal", "spatial"), "decoder": ("self", "cross")}
)


@dataclass(frozen=True)
class IntermediateOutput:
    """A tensor that both models compute.

    Attributes:
        name: for tables and reports.
        module: dotted path of the module that puts it out.
        item: which of the module's outputs, where it puts out a list.
        queries_first_in_original: the original puts out (tokens, batch, C), ours (batch, tokens, C).
    """

    name: str
    module: str
    item: int | None = None
    queries_first_in_original: bool = False


def intermediate_outputs_of(config: ModelConfig) -> tuple[IntermediateOutput, ...]:
    """Return the intermediate outputs of a model in the order in which it computes them, without its outputs.

    The graph's named tensors (:func:`bevformer_lib.export.intermediate_outputs.named_tensors`), and before each
    layer's output those of its two attentions, which the graph does not name.
    """
    intermediate_outputs: list[IntermediateOutput] = []
    for tensor in named_tensors(config):
        kind, _, rest = tensor.name.partition(".")
        queries_first = kind == "decoder"
        if kind in _ATTENTIONS and rest.startswith("layer"):
            intermediate_outputs += [
                IntermediateOutput(f"{tensor.name}.{name}", f"{tensor.module}.attentions.{index}", None, queries_first)
                for index, name in enumerate(_ATTENTIONS[kind])
            ]
        intermediate_outputs.append(IntermediateOutput(tensor.name, tensor.module, tensor.item, queries_first))
    return tuple(intermediate_outputs)


def tensor_order(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of everything that is compared, in the order in which the network computes it."""
    return (*(intermediate_output.name for intermediate_output in intermediate_outputs_of(config)), *OUTPUT_NAMES)


@contextmanager
def with_intermediates(
    model: nn.Module, intermediate_outputs: Sequence[IntermediateOutput], sink: TensorSink, *, original: bool
) -> Iterator[None]:
    """Hand every intermediate output's tensor to ``sink`` while the block runs the model.

    Args:
        model: the original's or our model.
        intermediate_outputs: where to look.
        sink: gets copies, so that what the model does to them in place later can't change them.
        original: whether ``model`` is the original, whose layout differs in places.

    Raises:
        VerifyError: the model has no such module, or it puts out something else.
    """
    handles = []
    try:
        for path in dict.fromkeys(intermediate_output.module for intermediate_output in intermediate_outputs):
            try:
                module = model.get_submodule(path)
            except AttributeError:
                raise VerifyError(
                    f"the {'original' if original else 'PyTorch'} model has no module '{path}'; is it another version "
                    "of BEVFormer, or does the config describe another model?"
                ) from None
            here = [
                intermediate_output
                for intermediate_output in intermediate_outputs
                if intermediate_output.module == path
            ]
            handles.append(module.register_forward_hook(_hook(here, sink, original)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(
    intermediate_outputs: Sequence[IntermediateOutput], sink: TensorSink, original: bool
) -> Callable[[nn.Module, Any, Any], None]:
    def hand_over(module: nn.Module, inputs: Any, output: Any) -> None:
        for intermediate_output in intermediate_outputs:
            tensor = output
            if intermediate_output.item is not None:
                if not isinstance(output, list | tuple) or intermediate_output.item >= len(output):
                    raise VerifyError(
                        f"module '{intermediate_output.module}' puts out no item "
                        f"{intermediate_output.item} for '{intermediate_output.name}'"
                    )
                tensor = output[intermediate_output.item]
            if not isinstance(tensor, torch.Tensor):
                raise VerifyError(
                    f"module '{intermediate_output.module}' puts out a {type(tensor).__name__}, not the tensor expected"
                )
            if original and intermediate_output.queries_first_in_original:
                tensor = tensor.transpose(0, 1)
            sink(intermediate_output.name, tensor.detach().cpu().numpy().copy())

    return hand_over
