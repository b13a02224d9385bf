"""What every rewrite of the graph returns."""

from __future__ import annotations

from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Refusal:
    """A place that looked like a match and was left as it is.

    Attributes:
        node: label of the node.
        operator: its operator, with the domain where that is not the standard one.
        reason: why the rewrite would not have kept the meaning, or could not be done.
    """

    node: str
    operator: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} {self.node!r}: {self.reason}"


@dataclass(frozen=True)
class PassResult:
    """A rewritten graph.

    Attributes:
        model: the result. It is the very object that was passed in when nothing changed, so that a pass without work
            costs no copy of the weights; a pass never modifies its argument.
        changed: number of places rewritten.
        refusals: places that looked like a match and were left alone, with the reason.
    """

    model: onnx.ModelProto
    changed: int
    refusals: tuple[Refusal, ...] = ()
