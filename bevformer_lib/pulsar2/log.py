"""What the converter's log says: cycles, arithmetic, progress, and why it failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

MEANINGFUL_LINES: Final = 8
_MAX_CYCLE: Final = re.compile(r"\bmax_cycle = ([\d,]+)")
_MACS: Final = re.compile(r"\bQuantAxModel macs: ([\d,]+)")
_CALIBRATION: Final = re.compile(r"^Calibration Progress\(Phase (\d+)\):.*?\b(\d+)/(\d+) \[")
_TABLE_OR_BAR: Final = re.compile(r"[─-╿█▀-▟━]|\d+%\|")
_CHATTER: Final = re.compile(r"\| (INFO|DEBUG|WARNING) +\||File\(s\) Loaded|^\s*(Quant|Layer) \w+ Table|Pass Running")
_FRAME: Final = re.compile(r'^\s+File "[^"]*", line \d+')
_CONFIG_REFUSED: Final = re.compile(
    r"ParseError|has no field named|Invalid enum value|Failed to parse|unrecognized arguments|invalid choice"
)
_OUT_OF_MEMORY: Final = re.compile(r"\bMemoryError\b|std::bad_alloc|Cannot allocate memory|\bOut of memory\b|oom-kill")


_REMEDIES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(words), remedy)
    for words, remedy in (
        (r"dont support \w+ opr", "an operator that it does not know: 'bevformer lint' names the nodes"),
        (
            r"job io size > ocm size",
            "a Gather (or normalisation) too large for the memory on the chip: gather from parts",
        ),
        (r"AxLayerNorm", "FP32 for LayerNormalization was seen to fail builds: leave it in U16"),
        (r"lut_float", "FP32 for Erf was seen to fail builds: leave it in U16"),
        (r"tuple index out of range", "arithmetic on tensors of one axis: keep an axis of one in front"),
        (r"zero-dimensional tensor", "a computed tensor without axes: keep one (keepdims=1)"),
        (r"truth value of an array", "a bias of one axis behind a product of two computed tensors: give it [1, N]"),
        (r"Should fuse Gemm", "a Gemm of two computed tensors: write it as MatMul"),
        (r"ZeroDivisionError", "perhaps a Squeeze: write it as Reshape"),
        (r"NoneType", "perhaps an attribute left at its default (alpha, largest, sorted): write it out"),
    )
)
"""What the converter was seen to say -> what was behind it."""


@dataclass(frozen=True)
class BuildFigures:
    """What a build's log says about the compiled graph.

    Attributes:
        max_cycle: cycles of every compiled NPU subgraph, the vendor's estimate of latency.
        macs: multiply-accumulates of every compiled group.
    """

    max_cycle: tuple[int, ...]
    macs: tuple[int, ...]


def read_figures(lines: Iterable[str]) -> BuildFigures:
    """Find the figures in a build's log."""
    cycles, macs = [], []
    for line in lines:
        if match := _MAX_CYCLE.search(line):
            cycles.append(int(match.group(1).replace(",", "")))
        if match := _MACS.search(line):
            macs.append(int(match.group(1).replace(",", "")))
    return BuildFigures(tuple(cycles), tuple(macs))


def calibration_progress(line: str) -> tuple[int, int, int] | None:
    """Return (phase, done, total) of a calibration progress line."""
    match = _CALIBRATION.match(line.strip())
    return (int(match.group(1)), int(match.group(2)), int(match.group(3))) if match else None


def last_meaningful_lines(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the last lines that say something: no progress, no tables, no chatter, no code of a traceback."""
    said: list[str] = []
    after_frame = False
    for line in lines:
        if after_frame and line.startswith("    "):
            continue
        after_frame = _FRAME.match(line) is not None
        if not after_frame and not _TABLE_OR_BAR.search(line) and not _CHATTER.search(line):
            said.append(line.strip())
    return tuple(said[-MEANINGFUL_LINES:])


def refuses_config(lines: Sequence[str]) -> bool:
    """Tell whether a failed build's log says that the config or the command line was wrong."""
    return any(_CONFIG_REFUSED.search(line) for line in last_meaningful_lines(lines))


def ran_out_of_memory(lines: Sequence[str]) -> bool:
    """Tell whether a failed build's log says that memory was short."""
    return any(_OUT_OF_MEMORY.search(line) for line in last_meaningful_lines(lines))


def remedy(lines: Sequence[str]) -> str | None:
    """Return the observed cause of a failed build's last message; ``None``: not observed before."""
    said = "\n".join(last_meaningful_lines(lines))
    return next((advice for words, advice in _REMEDIES if words.search(said)), None)
