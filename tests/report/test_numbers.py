from __future__ import annotations

import pytest

from bevformer_lib.report import numbers


def spaced(text: str) -> str:
    return text.replace("\u202f", " ").replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (12.345, "12.3"),
        (99_999.4, "99999"),
        (0.00012345, "0.000123"),
        (4.5678e-07, "4.57·10⁻⁷"),
        (-1.5e12, "-1.50·10¹²"),
        (None, "–"),  # noqa: RUF001
    ],
)
def test_significant(value: float | None, text: str) -> None:
    assert numbers.significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 %"), (0.0312, "3.12 %"), (1.5, "150 %"), (2e-5, "0.00200 %"), (4.1e-6, "4.10·10⁻⁶")]
)
def test_error(value: float, text: str) -> None:
    assert spaced(numbers.error(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0004, "0.400 ms"),
        (0.4123, "412 ms"),
        (2.5, "2.50 s"),
        (59.99, "60.0 s"),
        (61.4, "1 min 1 s"),
        (7325.0, "2 h 2 min"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert spaced(numbers.seconds(value)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_600, "1.00 MB"), (136_400_000, "136 MB")]
)
def test_size(value: int, text: str) -> None:
    assert spaced(numbers.size(value)) == text


def test_count() -> None:
    assert spaced(numbers.count(34_149)) == "34 149"
    assert spaced(numbers.count(1, "frame")) == "1 frame"
    assert spaced(numbers.count(0, "box", "boxes")) == "0 boxes"


def test_nothing_is_a_dash() -> None:
    formats = (numbers.cosine, numbers.percent, numbers.error, numbers.seconds, numbers.metres, numbers.decimals)
    assert {function(None) for function in formats} == {numbers.UNDEFINED}
