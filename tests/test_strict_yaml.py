from __future__ import annotations

import pytest

from bevformer_lib.strict_yaml import MAX_VALUES, parse_yaml


def test_what_people_write() -> None:
    assert parse_yaml("") is None
    assert parse_yaml("quant: {bits: 8, kind: MinMax, of: [1.5, null, true]}") == {
        "quant": {"bits": 8, "kind": "MinMax", "of": [1.5, None, True]}
    }
    text = "base: &base {bits: 8}\nlayers:\n- <<: *base\n  name: conv\n"
    assert parse_yaml(text) == {"base": {"bits": 8}, "layers": [{"bits": 8, "name": "conv"}]}


@pytest.mark.parametrize("text", ["2024-01-01", "2001-12-14t21:59:43.10-99:99", "2024-13-45"])
def test_dates_are_texts(text: str) -> None:
    assert parse_yaml(f"name: {text}") == {"name": text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "holds the key 'a' twice, the second time in line 3"),
        ("{a: {b: 1, b: 2}}", "holds the key 'b' twice"),
        ("[" * 100_000, "is nested deeper than 100 levels"),
        ("[" * 5000 + "]" * 5000, "is nested deeper than 100 levels"),
        ("{a: " * 5000, "is nested deeper than 100 levels"),
        ("- " * 5000, "is nested deeper than 100 levels"),
        ("n: " + "9" * 5000, "is not valid YAML"),
        ("n: .nan", "every number must be finite"),
        ("n: [-.inf]", "every number must be finite"),
        ("n: !!binary aGVsbG8=", "which JSON can't say"),
        ("n: !!set {a, b}", "which JSON can't say"),
        ("n: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("1: 2", "has the key 1, which is no text"),
        ("? [a, b]\n: 2", "has a key that is no text"),
        ("a: &a [*a]", "alias of what it lies in"),
        ("a: [1", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        (" " * (1 << 21), "is larger than"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_yaml(text)


def test_aliases_do_not_multiply() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]" for level in range(1, 9)]
    with pytest.raises(ValueError, match=f"holds more than {MAX_VALUES} values"):
        parse_yaml("\n".join(lines))
