"""`bevformer ptq`: a float graph that loses less in the converter's 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from bevformer_lib.cli.options import Device
from bevformer_lib.ptq.names import DEFAULT_PASSES, PASSES

if TYPE_CHECKING:
    _Pass: TypeAlias = str
else:
    _Pass = Literal[tuple(PASSES)]


def command(
    onnx: Path,
    calibration_dir: Path,
    /,
    *,
    output: Path,
    passes: tuple[_Pass, ...] = DEFAULT_PASSES,
    device: Device = "cpu",
) -> None:
    """Change a float model's weights so that the converter's rounding changes less of what it computes.

    Args:
        onnx: the float model.
        calibration_dir: folder with the archives of prepare-calibration.
        output: the float model to write; convert it with the same archives.
        passes: what to do, once per pass.
        device: where to run the float model: cpu, cuda or cuda:N.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.ptq.passes import apply_passes

    with progress_bar() as on_progress:
        done = apply_passes(onnx, calibration_dir, output, passes=passes, device=device, on_progress=on_progress)
    console = Console(highlight=False, markup=False)
    for name, facts in done.items():
        console.print(f"{name}: {facts['summary']}", soft_wrap=True)
    console.print(f"float model to convert: {output}", soft_wrap=True)
