"""Ancestry as a list with rails, as version control draws it: one row per node, parents above their children."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bevformer_lib.report.sections import LineageNode
from bevformer_lib.report.svg import WIDTH, figure, n, svg

_ROW, _LANE, _LEFT, _RADIUS = 44, 20, 10, 6
_CHARACTER = 8.4
_LEGEND: Final = Markup(
    '<ul class="legend">'
    '<li><svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
    '<rect class="node input" x="2" y="2" width="10" height="10" rx="1.5"/></svg>input</li>'
    '<li><svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
    '<circle class="node kept" cx="7" cy="7" r="5"/></svg>reused</li>'
    '<li><svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
    '<circle class="node made" cx="7" cy="7" r="5"/></svg>made in this build</li></ul>'
)


@dataclass(frozen=True)
class PlacedNode:
    """A node's place.

    Attributes:
        node: what.
        row: counted from the top.
        lane: counted from the left; below the node this lane is its own until its last child.
    """

    node: LineageNode
    row: int
    lane: int


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
    rails = [_rail(places[parent], place) for place in places.values() for parent in dict.fromkeys(place.node.parents)]
    rows = [part for place in places.values() for part in (_sign(place), _words(place.node, place.row, text_left))]
    said = "; ".join(
        f"{node.title} from {', '.join(places[parent].node.title for parent in node.parents)}"
        if node.parents
        else node.title
        for node in nodes
    )
    drawing = svg(_ROW * len(nodes), f"Ancestry. {said}.", [*rails, *rows])
    return figure("What was made from what", drawing + _LEGEND, [])


def _rail(parent: PlacedNode, child: PlacedNode) -> Markup:
    """Draw the way from a parent down its own lane, then over to its child."""
    x, y = _center(parent)
    end_x, end_y = _center(child)
    turn_y = end_y - _ROW
    over = f"C{n(x)} {n(end_y - _ROW / 3)} {n(end_x)} {n(turn_y + _ROW / 3)} {n(end_x)} {n(end_y)}"
    return Markup('<path class="rail" d="{}"/>').format(f"M{n(x)} {n(y)}V{n(turn_y)}{over}")


def _sign(place: PlacedNode) -> Markup:
    x, y = _center(place)
    if place.node.is_input:
        side = 2 * _RADIUS - 1
        return Markup('<rect class="node input" x="{}" y="{}" width="{}" height="{}" rx="1.5"/>').format(
            n(x - side / 2), n(y - side / 2), side, side
        )
    style = "made" if place.node.changed else "kept"
    return Markup('<circle class="node {}" cx="{}" cy="{}" r="{}"/>').format(style, n(x), n(y), _RADIUS)


def _words(node: LineageNode, row: int, left: float) -> Markup:
    middle = _ROW * row + _ROW / 2
    title = _cut(node.title, (WIDTH - left) / _CHARACTER)
    detail = _cut(node.detail, (WIDTH - left) / _CHARACTER)
    words = Markup('<text class="label" x="{}" y="{}" dominant-baseline="central">{}<title>{}</title></text>').format(
        n(left), n(middle - (8 if detail else 0)), title, node.title
    )
    if detail:
        words += Markup(
            '<text class="tick" x="{}" y="{}" dominant-baseline="central">{}<title>{}</title></text>'
        ).format(n(left), n(middle + 9), detail, node.detail)
    return words


def _cut(words: str, room: float) -> str:
    return words if len(words) <= room else f"{words[: int(room) - 1]}…"


def _center(place: PlacedNode) -> tuple[float, float]:
    return _LEFT + _LANE * place.lane, _ROW * place.row + _ROW / 2
