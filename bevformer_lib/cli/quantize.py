"""`bevformer quantize`: a quantised model from a float ONNX graph and a calibration set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import Device

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.convert.base import Conversion


def command(
    onnx: Path,
    calibration_dir: Path,
    /,
    *,
    output: Path,
    converter: str = "onnxruntime",
    device: Device = "cpu",
    keep_float: Path | None = None,
) -> None:
    """Quantise a float ONNX graph, calibrated with the archives of prepare-calibration and nothing else.

    Args:
        onnx: the float model.
        calibration_dir: folder with the archives of prepare-calibration.
        output: the quantised model to write.
        converter: onnxruntime.
        device: where to run the float model: cpu, cuda or cuda:N.
        keep_float: JSON list of layers to leave in float, such as tune-precision writes.
    """
    from rich.console import Console

    from bevformer_lib.backends.converters import open_converter
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.convert.float_layers import read_kept

    kept = read_kept(keep_float) if keep_float is not None else ()

    with progress_bar() as on_progress:
        conversion = open_converter(converter, device=device, keep_float=kept).convert(
            onnx, calibration_dir, output, on_progress=on_progress
        )
    console = Console()
    console.print(_table(conversion))
    smaller = conversion.bytes_before / conversion.bytes_after
    console.print(
        f"{conversion.bytes_before / 1e6:.1f} MB -> {conversion.bytes_after / 1e6:.1f} MB "
        f"({smaller:.1f} times smaller), {conversion.num_samples} samples, {conversion.seconds:.1f} s",
        highlight=False,
    )
    console.print(f"quantised model: {output}", soft_wrap=True, markup=False)


def _table(conversion: Conversion) -> Table:
    from rich.table import Table

    table = Table("operator", "quantised", "float")
    for op in sorted({*conversion.quantized_nodes, *conversion.float_nodes}):
        table.add_row(op, str(conversion.quantized_nodes.get(op, 0)), str(conversion.float_nodes.get(op, 0)))
    return table
