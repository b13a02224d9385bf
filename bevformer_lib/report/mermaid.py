"""Ancestry as a Mermaid flowchart, for pages that render Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from bevformer_lib.report.lineage import LineageNode

_SHAPES: Final = {"input": ("([", "])"), "kept": ("[", "]"), "made": ("[[", "]]")}
"""Kind of a node -> brackets: rounded for inputs, a frame of its own for what this build made."""
_PLAIN: Final = re.compile(r"[^\w .,:/+-]")


def mermaid_flowchart(nodes: Sequence[LineageNode]) -> str:
    """Return the ancestry of a build as a fenced Mermaid block.

    Args:
        nodes: parents before children.
    """
    return "\n".join(["```mermaid", "flowchart TD", *_lines(nodes), "```"])


def _lines(nodes: Sequence[LineageNode]) -> Iterator[str]:
    numbers = {node.key: f"n{number}" for number, node in enumerate(nodes)}
    for node in nodes:
        left, right = _SHAPES[node.kind]
        label = "<br/>".join(_escaped(text) for text in (node.title, node.detail) if text)
        yield f'    {numbers[node.key]}{left}"{label}"{right}'
        yield from (f"    {numbers[parent]} --> {numbers[node.key]}" for parent in dict.fromkeys(node.parents))


def _escaped(text: str) -> str:
    """Write what could end a label, or mean something in Markdown or HTML, as Mermaid's character codes."""
    return _PLAIN.sub(lambda found: f"#{ord(found[0])};", text)
