"""`bevformer convert`: a model for the NPU from a float ONNX graph and a calibration set."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

from cyclopts import Parameter

from bevformer_lib.cli.options import Device
from bevformer_lib.pulsar2.settings import Pulsar2Settings, settings_for

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.emulator.converter import EmulatorConversion
    from bevformer_lib.pulsar2.converter import Pulsar2Conversion

_MOST_LAYERS = 20
_DEFAULTS = Pulsar2Settings()
_EMULATED = frozenset({"target", "overrides", "build"})
"""Options of the emulator beside the settings of quantisation, all but the last those of pulsar2."""


def command(
    onnx: Path,
    calibration_dir: Path,
    /,
    *,
    output: Path,
    converter: str = "pulsar2",
    settings: Annotated[Pulsar2Settings, Parameter(name="*")] = _DEFAULTS,
    target: str | None = None,
    overrides: Path | None = None,
    log: Path | None = None,
    profile: Annotated[bool, Parameter(negative="")] = False,
    keep_build: Path | None = None,
    build: Path | None = None,
    device: Device = "cpu",
) -> None:
    """Convert a float ONNX graph, calibrated with the archives of prepare-calibration and nothing else.

    With pulsar2, the converter's log is shown as it comes, and what it built is checked against what was asked: the
    facts go into OUTPUT.json, requests without effect are listed as findings.

    Args:
        onnx: the float model.
        calibration_dir: folder with the archives of prepare-calibration.
        output: the model to write (.axmodel for pulsar2, .onnx for the others).
        converter: pulsar2, onnxruntime, or emulator, which works out what pulsar2 would make.
        settings: how Pulsar2 converts.
        target: pulsar2, emulator: chip to compile for [default: AX650].
        overrides: pulsar2, emulator: YAML file with build config settings of your own.
        log: pulsar2: file to write the converter's log to, kept even if the build fails.
        profile: pulsar2: report the cycles of every layer.
        keep_build: pulsar2: new folder to copy the build's own files into, for --build.
        build: emulator: output folder of a real build, whose numbers are taken instead of predicted ones.
        device: onnxruntime, emulator: where to run the float model: cpu, cuda or cuda:N.
    """
    from bevformer_lib.backends.converters import EMULATOR, PULSAR2
    from bevformer_lib.errors import ConversionError

    asked = {
        "target": target,
        "overrides": overrides,
        "build": build,
        "profile": profile or None,
        "keep_build": keep_build,
    }
    chosen = settings.model_dump(exclude_unset=True)
    chosen |= {name: value for name, value in asked.items() if value is not None}
    if converter == PULSAR2 and build is None:
        _convert_with_pulsar2(onnx, calibration_dir, output, chosen, log, device)
        return
    refused = [name for name in chosen if converter != EMULATOR or name not in _EMULATED | settings_for(None)]
    if refused or log is not None:
        raise ConversionError(f"converter {converter}: has no {', '.join(refused or ['log'])}; leave that out")
    if converter == EMULATOR:
        _emulate(onnx, calibration_dir, output, chosen, device)
        return
    from bevformer_lib.cli.quantize import command as quantize

    quantize(onnx, calibration_dir, output=output, converter=converter, device=device)


def _convert_with_pulsar2(
    onnx: Path, calibration_dir: Path, output: Path, chosen: Mapping[str, Any], log: Path | None, device: str
) -> None:
    from rich.console import Console

    from bevformer_lib.backends.converters import PULSAR2, open_converter
    from bevformer_lib.files import write_json
    from bevformer_lib.progress import no_progress
    from bevformer_lib.pulsar2.converter import Pulsar2Conversion, Pulsar2Options

    with ExitStack() as stack:
        file = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(log.open("w", encoding="utf-8"))
        options = Pulsar2Options(**chosen, on_line=_log_writer(file))
        conversion = open_converter(PULSAR2, device=device, pulsar2=options).convert(
            onnx, calibration_dir, output, on_progress=no_progress
        )
    assert isinstance(conversion, Pulsar2Conversion)  # noqa: S101 - what this converter returns
    facts = output.with_name(f"{output.name}.json")
    write_json(facts, conversion.facts)
    console = Console()
    console.print(_table(conversion))
    if conversion.facts["layer_cycles"]:
        console.print(_cycles_table(conversion))
    for finding in conversion.findings:
        console.print(f"finding: {finding}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"compiled model: {output}", soft_wrap=True, markup=False)
    console.print(f"facts: {facts}", soft_wrap=True, markup=False)


def _emulate(onnx: Path, calibration_dir: Path, output: Path, chosen: Mapping[str, Any], device: str) -> None:
    from rich.console import Console

    from bevformer_lib.backends.converters import EMULATOR, open_converter
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.emulator.converter import EmulatorConversion, EmulatorOptions
    from bevformer_lib.files import write_json

    options = EmulatorOptions(**chosen, device=device)
    with progress_bar() as on_progress:
        conversion = open_converter(EMULATOR, emulator=options).convert(
            onnx, calibration_dir, output, on_progress=on_progress
        )
    assert isinstance(conversion, EmulatorConversion)  # noqa: S101 - what this converter returns
    facts = output.with_name(f"{output.name}.json")
    write_json(facts, conversion.facts)
    console = Console()
    console.print(_emulation_table(conversion))
    for finding in conversion.findings:
        console.print(f"finding: {finding}", soft_wrap=True, markup=False, highlight=False)
    console.print(f"emulation, all tensors rounded: {output}", soft_wrap=True, markup=False)
    console.print(f"emulation, movement operators not rounded: {conversion.optimistic}", soft_wrap=True, markup=False)
    console.print(f"facts: {facts}", soft_wrap=True, markup=False)


def _emulation_table(conversion: EmulatorConversion) -> Table:
    from rich.table import Table

    table = Table(show_header=False)
    for name in ("recipe", "target", "calibration_method"):
        table.add_row(name.replace("_", " "), conversion.settings[name])
    table.add_row("calibration samples", str(conversion.num_samples))
    formats = Counter(tensor["format"] for tensor in conversion.facts["tensors"])
    table.add_row("tensors", ", ".join(f"{count} {name}" for name, count in sorted(formats.items())))
    table.add_row("time", f"{conversion.seconds:.1f} s")
    table.add_row("findings", str(len(conversion.findings)))
    return table


def _log_writer(file: TextIO | None) -> Callable[[str], None]:
    """Return a callback that shows the converter's log on stderr and keeps it in a file."""

    def write(line: str) -> None:
        sys.stderr.write(f"pulsar2 | {line}\n")
        sys.stderr.flush()
        if file is not None:
            file.write(f"{line}\n")
            file.flush()

    return write


def _table(conversion: Pulsar2Conversion) -> Table:
    from rich.table import Table

    facts = conversion.facts
    tool = facts["tool"]
    table = Table(show_header=False)
    table.add_row("Pulsar2", f"{tool['version']} ({tool['kind']}: {tool['location']})")
    for name in ("recipe", "target", "npu_mode", "calibration_method"):
        table.add_row(name.replace("_", " "), conversion.settings[name])
    table.add_row("calibration samples", str(conversion.num_samples))
    table.add_row("cycles", " + ".join(f"{cycles:,}" for cycles in facts["max_cycle"]) or "not in the log")
    if facts["estimated_ms"] is not None:
        low, high = facts["estimated_ms"]
        table.add_row("time on a card, estimated", f"{low:.2f} to {high:.2f} ms")
    table.add_row("multiply-accumulates", " + ".join(f"{macs:,}" for macs in facts["macs"]) or "not in the log")
    built = Counter(row["quantized_dtype"] for row in facts["precision_table"])
    table.add_row("operators built", ", ".join(f"{count} {name}" for name, count in sorted(built.items())) or "unknown")
    table.add_row("size", f"{conversion.bytes_before / 1e6:.1f} MB -> {conversion.bytes_after / 1e6:.1f} MB")
    table.add_row("time", f"{conversion.seconds:.1f} s")
    table.add_row("findings", str(len(conversion.findings)))
    return table


def _cycles_table(conversion: Pulsar2Conversion) -> Table:
    from rich.table import Table

    rows = conversion.facts["layer_cycles"]
    total = sum(row["cycles"] for row in rows) or 1.0
    table = Table(
        title=f"cycles by layer, the first {min(len(rows), _MOST_LAYERS)} of {len(rows)}", title_justify="left"
    )
    for heading in ("layer", "type", "cycles", "share"):
        table.add_column(heading, justify="right" if heading in ("cycles", "share") else "left", overflow="fold")
    for row in rows[:_MOST_LAYERS]:
        table.add_row(row["layer"], row["kind"], f"{row['cycles']:,.0f}", f"{row['cycles'] / total:.1%}")
    return table
