"""What hypothesis makes of a sound file: bytes changed, pieces moved, values of JSON replaced."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

MARKS = (
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\x93NUMPY",
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"[" * 3000,
    b"{" * 3000,
    b"-",
    b"\n",
    b"9" * 400,
)
"""What parsers stumble over."""
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        3.5,
        1e300,
        -1e300,
        2**63,
        2**2000,
        "",
        "x",
        "\ud800",
        "\x00",
        "../../x",
        "a" * 5000,
    ),
    *([], {}, [[]], [None], [0] * 50, {"": 0}, {"a": {"b": []}}, ["x"], [[1, 2], [3]], float("nan"), float("inf")),
)
"""What a field may hold that it should not."""

Path = tuple[Any, ...]


@st.composite
def mutated(draw: st.DrawFn, sound: bytes) -> bytes:
    """Content that was sound until a few of its bytes were changed, cut out, or doubled; or anything at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from((0, 1, 2, 4, 8, 64, 1 << 20))))
        new = draw(st.one_of(st.sampled_from(MARKS), st.binary(max_size=8), st.just(bytes(content[start:end]) * 2)))
        content[start:end] = new
    return bytes(content)


@st.composite
def changed_json(draw: st.DrawFn, sound: Any) -> bytes:
    """JSON of which some values, or keys, are others, twice there, or gone; now and then no JSON at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(mutated(json.dumps(sound).encode()))
    content = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        holder = content
        for step in above:
            holder = holder[step]
        action = draw(st.integers(0, 3))
        if action == 0:
            del holder[last]
        elif action == 1 and isinstance(holder, list):
            holder.extend(holder[:1] * draw(st.sampled_from((1, 3, 500))))
        else:
            holder[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return json.dumps(content, ensure_ascii=True).encode()


def _places(content: Any, above: Path = ()) -> Iterator[Path]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*above, key)
            yield from _places(value, (*above, key))
    elif isinstance(content, list):
        for position, value in enumerate(content[:4]):
            yield (*above, position)
            yield from _places(value, (*above, position))
