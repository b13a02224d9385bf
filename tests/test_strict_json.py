from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bevformer_lib.files import write_json
from bevformer_lib.strict_json import MAX_DEPTH, parse_json, read_json, read_json_object


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("{", "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        ('{"a": 1, "a": 1}', "holds the key 'a' twice"),
        ('[{"b": {"a": 1, "a": 2}}]', "holds the key 'a' twice"),
        ("[NaN]", "holds NaN; every number must be finite"),
        ('{"a": -Infinity}', "holds -Infinity"),
        ("[" * 101 + "]" * 101, f"is nested deeper than {MAX_DEPTH} levels"),
        ("[" * 100_000 + "]" * 100_000, f"is nested deeper than {MAX_DEPTH} levels"),
        ('{"a":' * 100_000, f"is nested deeper than {MAX_DEPTH} levels"),
        ("1" * 5000, "is not valid JSON"),
    ],
)
def test_what_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_what_is_read(tmp_path: Path) -> None:
    assert parse_json("[" * 100 + "]" * 100)
    write_json(tmp_path / "x.json", {"größe": [1, 2.5, None]})
    assert read_json(tmp_path / "x.json") == read_json_object(tmp_path / "x.json") == {"größe": [1, 2.5, None]}
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold a JSON object, not list"):
        read_json_object(tmp_path / "list.json")
    with pytest.raises(ValueError, match="can't be read: No such file"):
        read_json_object(tmp_path / "none.json")


@given(st.binary(max_size=200) | st.text('[]{}",:0123456789eE-+.Nantrufls ', max_size=60))
def test_nothing_else_is_raised(text: str | bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_json(text)
