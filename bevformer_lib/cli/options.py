"""Numbers and devices as options: what they may be, the same for every command."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

DEVICE_PATTERN: Final = r"^(cpu|cuda(:[0-9]{1,3})?)$"
"""Where models run."""
NPU_PATTERN: Final = r"^(board|card(:[0-9]{1,3})?)$"
"""Which NPU of a machine runs a compiled model."""
MOST_SCENES: Final = 1_000_000
MOST_SEED: Final = 2**63 - 1
"""What every generator of random numbers here takes."""
_MOST_THREADS: Final = 1024
_MOST_STEPS: Final = 100_000_000
_MOST_MINUTES: Final = 1_000_000.0
_MOST_FPS: Final = 240.0
_MOST_CELLS: Final = 100_000.0
_SHOWN: Final = 40


def _whole_number(_: Any, tokens: Sequence[Token]) -> int:
    """Return the number that an option was given; cyclopts itself rounds 3.5 to 4."""
    text = tokens[0].value
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", text):
        raise ValueError(f"{text[:_SHOWN]!r} is not a whole number")
    return int(text)


def _between(low: float, high: float, *, above: bool = False) -> Callable[[Any, Any], None]:
    """Return a validator for numbers from ``low`` to ``high``.

    Args:
        low: the lowest.
        high: the highest.
        above: whether ``low`` itself is too low.
    """
    asked = f"must be above {low:,.10g}, and at most {high:,.10g}" if above else f"must be from {low:,} to {high:,}"

    def check(_: Any, value: Any) -> None:
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not (low <= number <= high and not (above and number == low)):
                raise ValueError(asked)

    return check


def _whole(low: int, high: int) -> Parameter:
    return Parameter(converter=_whole_number, validator=_between(low, high))


def _device(_: Any, value: Any) -> None:
    if value is not None and not re.fullmatch(DEVICE_PATTERN, value):
        raise ValueError("must be cpu, cuda or cuda:N")


def _npu(_: Any, value: Any) -> None:
    if value is not None and not re.fullmatch(NPU_PATTERN, value):
        raise ValueError("must be board, card or card:N")


Count = Annotated[int, _whole(1, MOST_SCENES)]
Runs = Annotated[int, _whole(0, MOST_SCENES)]
Steps = Annotated[int, _whole(1, _MOST_STEPS)]
FirstScene = Annotated[int, _whole(0, MOST_SCENES)]
LastScene = Annotated[int | None, _whole(1, MOST_SCENES)]
Seed = Annotated[int, _whole(0, MOST_SEED)]
Threads = Annotated[int, _whole(1, _MOST_THREADS)]
Workers = Annotated[int, _whole(0, _MOST_THREADS)]
Fraction = Annotated[float, Parameter(validator=_between(0.0, 1.0))]
PositiveFraction = Annotated[float, Parameter(validator=_between(0.0, 1.0, above=True))]
Minutes = Annotated[float, Parameter(validator=_between(0.0, _MOST_MINUTES, above=True))]
Seconds = Annotated[float, Parameter(validator=_between(0.0, _MOST_MINUTES * 60.0, above=True))]
FramesPerSecond = Annotated[float, Parameter(validator=_between(0.0, _MOST_FPS, above=True))]
CellsXY = Annotated[tuple[float, float], Parameter(validator=_between(-_MOST_CELLS, _MOST_CELLS))]
Device = Annotated[str, Parameter(validator=_device)]
Npu = Annotated[str, Parameter(validator=_npu)]
