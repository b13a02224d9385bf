"""Ancestry as a list with rails, as version control draws it: one row per node, parents above their children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bevformer_lib.report import numbers
from bevformer_lib.report.content import ReportStep
from bevformer_lib.report.svg import WIDTH, figure, tag, text
from bevformer_lib.store.step import StepRecord

_ROW, _LANE, _LEFT, _RADIUS = 44, 20, 10, 6
_CHARACTER = 8.4
_DIGITS = 12
_KINDS: Final = {"input": "input", "kept": "reused", "made": "made in this build"}
"""Style of a node -> what the legend says of it."""


@dataclass(frozen=True)
class LineageNode:
    """Something of a build's ancestry.

    Attributes:
        key: unique among the nodes.
        title: for people.
        detail: digest or parameters, printed small; empty for none.
        parents: keys of what it was made from.
        kind: ``input``: it came from outside the build; ``made`` in this build; ``kept``: reused.
    """

    key: str
    title: str
    detail: str = ""
    parents: Sequence[str] = ()
    kind: str = "kept"


@dataclass(frozen=True)
class PlacedNode:
    """A node's place.

    Attributes:
        row: counted from the top.
        lane: counted from the left; below the node this lane is its own until its last child.
    """

    node: LineageNode
    row: int
    lane: int

    @property
    def center(self) -> tuple[float, float]:
        """Where its sign is drawn."""
        return _LEFT + _LANE * self.lane, _ROW * self.row + _ROW / 2


def lineage(steps: Sequence[ReportStep]) -> tuple[LineageNode, ...]:
    """Return a build's ancestry; steps that are done once per scene are one node, and so are all scenes.

    Args:
        steps: in the order of the build.
    """
    names = {step.record.identity: step.record.step.name for step in steps}
    groups: dict[str, list[ReportStep]] = {}
    for step in steps:
        groups.setdefault(step.record.step.name, []).append(step)
    nodes: dict[str, LineageNode] = {}
    for name, group in groups.items():
        parents = dict.fromkeys(key for step in group for key in _parents(step.record, names, nodes))
        digest = group[0].record.step.key[:_DIGITS]
        detail = digest if len(group) == 1 else f"{numbers.count(len(group), 'scene')}, each a step"
        kind = "made" if any(step.ran for step in group) else "kept"
        nodes[name] = LineageNode(name, name, detail, tuple(parents), kind)
    return tuple(nodes.values())


def _parents(record: StepRecord, names: dict[str, str], nodes: dict[str, LineageNode]) -> Iterator[str]:
    """Yield the keys of what a step is made from; inputs from outside become nodes when they are met first."""
    for role, artifact in record.step.inputs.items():
        if artifact.made_by in names:
            yield names[artifact.made_by]
        elif artifact.made_by is None and role.split(" ")[0] == "scene":
            nodes.setdefault("scenes", LineageNode("scenes", "scenes", artifact.source or "", kind="input"))
            yield "scenes"
        else:
            title = artifact.name if artifact.made_by is None else f"{role} (published build)"
            nodes.setdefault(role, LineageNode(role, title, artifact.sha256[:_DIGITS], kind="input"))
            yield role


def placed(nodes: Sequence[LineageNode]) -> list[PlacedNode]:
    """Give every node a row and a lane; no lane runs through another node.

    Args:
        nodes: parents before children.

    Raises:
        ValueError: a key occurs twice, or a parent doesn't come before its child.
    """
    waiting = Counter(parent for node in nodes for parent in set(node.parents))
    lanes: list[str | None] = []
    found: dict[str, PlacedNode] = {}
    for row, node in enumerate(nodes):
        if node.key in found:
            raise ValueError(f"lineage: {node.key} occurs twice")
        for parent in dict.fromkeys(node.parents):
            if parent not in found:
                raise ValueError(f"lineage: {node.key} is made from {parent}, which doesn't come before it")
            waiting[parent] -= 1
            if not waiting[parent]:
                lanes[found[parent].lane] = None
        if None not in lanes:
            lanes.append(None)
        lane = lanes.index(None)
        lanes[lane] = node.key if waiting[node.key] else None
        found[node.key] = PlacedNode(node, row, lane)
    return list(found.values())


def lineage_graph(nodes: Sequence[LineageNode]) -> Markup:
    """Draw the ancestry of a build."""
    places = {place.node.key: place for place in placed(nodes)}
    text_left = _LEFT + _LANE * (1 + max((place.lane for place in places.values()), default=0)) + 4
    parts = [_rail(places[parent], place) for place in places.values() for parent in dict.fromkeys(place.node.parents)]
    for place in places.values():
        parts += [_sign(place.node.kind, *place.center), *_words(place, text_left)]
    said = "; ".join(
        " from ".join(filter(None, (node.title, ", ".join(places[parent].node.title for parent in node.parents))))
        for node in nodes
    )
    signs = {
        kind: tag("svg", _sign(kind, 7, 7), viewBox="0 0 14 14", width=14, height=14, aria_hidden="true")
        for kind in _KINDS
    }
    legend = tag("ul", *(tag("li", signs[kind], words) for kind, words in _KINDS.items()), class_="legend")
    return figure("What was made from what", f"{said}.", parts, legend, height=_ROW * len(nodes))


def _rail(parent: PlacedNode, child: PlacedNode) -> Markup:
    """Draw the way from a parent down its own lane, then over to its child."""
    (x, y), (end_x, end_y) = parent.center, child.center
    turn_y, bend = end_y - _ROW, _ROW / 3
    over = f"C{x:g} {end_y - bend:.2f} {end_x:g} {turn_y + bend:.2f} {end_x:g} {turn_y + _ROW:g}"
    return tag("path", class_="rail", d=f"M{x:g} {y:g}V{turn_y:g}{over}")


def _sign(kind: str, x: float, y: float) -> Markup:
    side = 2 * _RADIUS - 1
    if kind == "input":
        return tag("rect", class_="node input", x=x - side / 2, y=y - side / 2, width=side, height=side, rx=1.5)
    return tag("circle", class_=f"node {kind}", cx=x, cy=y, r=side / 2)


def _words(place: PlacedNode, left: float) -> Iterator[Markup]:
    node, middle, room = place.node, place.center[1], int((WIDTH - left) / _CHARACTER)
    for style, words, y in (
        ("label", node.title, middle - (8 if node.detail else 0)),
        ("tick", node.detail, middle + 9),
    ):
        if words:
            cut = words if len(words) <= room else f"{words[: room - 1]}…"
            yield text(style, left, y, cut, tag("title", words))
