"""The `bevformer` command: lists its commands without importing what they need, prints errors without tracebacks."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, CycloptsPanel
from rich.console import Console

from bevformer_lib import __version__
from bevformer_lib.cli.network import keep_loopback_off_proxies
from bevformer_lib.cli.own_inputs import require_other_outputs
from bevformer_lib.errors import BevformerError
from bevformer_lib.files import FULL_DISK

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails
    from rich.panel import Panel

LIBRARY_COMMANDS: Mapping[str, tuple[str, str]] = {
    "extract-config": (
        "bevformer_lib.cli.extract_config",
        "Write inference_config.json from a model config.",
    ),
    "make-checkpoint": ("bevformer_lib.cli.make_checkpoint", "Write a checkpoint of random weights."),
    "train": ("bevformer_lib.cli.train", "Train a model on synthetic or annotated scenes."),
    "make-scenes": ("bevformer_lib.cli.make_scenes", "Render synthetic scenes with known boxes."),
    "extract-scenes": ("bevformer_lib.cli.extract_scenes", "Write scenes from a nuScenes dataset."),
    "write-recordings": (
        "bevformer_lib.cli.write_recordings",
        "Write scenes as MCAP recordings, as a car makes them.",
    ),
    "check-scenes": ("bevformer_lib.cli.check_scenes", "Check a folder of scenes and report every defect."),
    "export": ("bevformer_lib.cli.export", "Export a static ONNX graph, with a parity check."),
    "lint": ("bevformer_lib.cli.lint", "Check an ONNX graph against what a chip's converter accepts."),
    "repair": ("bevformer_lib.cli.repair", "Rewrite a graph that was made elsewhere for a chip's converter."),
    "profile": ("bevformer_lib.cli.profile", "Print what an ONNX graph costs: MACs, memory, time per operator."),
    "extract-quantization-data": (
        "bevformer_lib.cli.extract_quantization_data",
        "Run scenes and write every frame's network inputs.",
    ),
    "prepare-calibration": ("bevformer_lib.cli.prepare_calibration", "Choose samples and pack the archives."),
    "convert": ("bevformer_lib.cli.convert", "Convert an ONNX graph for the NPU, and check what was built."),
    "ptq": ("bevformer_lib.cli.ptq", "Change weights so that 8 bits change less of what they compute."),
    "quantize": ("bevformer_lib.cli.quantize", "Quantise an ONNX graph with a calibration set."),
    "tune-precision": (
        "bevformer_lib.cli.tune_precision",
        "Search the layers that must stay in higher precision.",
    ),
    "infer": ("bevformer_lib.cli.infer", "Run a model over scenes: detections, images, video."),
    "view": ("bevformer_lib.cli.view", "Write a scene with detections for the 3D viewer rerun."),
    "compare-backends": (
        "bevformer_lib.cli.compare_backends",
        "PyTorch, ONNX, quantised, simulator and board on the same frames.",
    ),
    "record": ("bevformer_lib.cli.record", "Keep a model's outputs, to evaluate a board against."),
    "verify": (
        "bevformer_lib.cli.verify",
        "Compare our model and a graph with the original's code, which it executes.",
    ),
    "score": ("bevformer_lib.cli.score", "Score detections by nuScenes' metric: NDS and mAP."),
    "evaluate": ("bevformer_lib.cli.evaluate", "Compare a compiled model with the float one over scenes."),
    "ancestry": ("bevformer_lib.cli.ancestry", "Print everything that an artifact was made from."),
    "explain": ("bevformer_lib.cli.explain", "Print what made each step of a build run."),
    "publish": ("bevformer_lib.cli.publish", "Make a build that passed its gates the published one."),
    "diff": ("bevformer_lib.cli.diff", "Print what changed from one build to another."),
    "log": ("bevformer_lib.cli.log", "Print the history of builds and of what was published."),
    "doctor": ("bevformer_lib.cli.doctor", "Check this machine for its role and say what to fix."),
    "store": ("bevformer_lib.cli.store", "Look into a store, copy from it, check it, clean it."),
    "fetch": ("bevformer_lib.cli.fetch", "Copy a file or a folder from the HuggingFace hub."),
}
"""Command name -> (module that holds a function ``command``, one-line help)."""

_ADVICE: Mapping[int | None, str] = {
    **dict.fromkeys(FULL_DISK, "; free some space, or choose another place, and run it again"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "; choose another place, or change its permissions"),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR, errno.ENOTDIR), "; choose another name"),
}
"""What to do about failures of the file system that a command did not name itself."""

_LONGEST_LINE = 3000

EXIT_ERROR, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def make_app(commands: Mapping[str, tuple[str, str]]) -> App:
    """Return the command line; a command's module is imported only when that command is used.

    Args:
        commands: command name -> (module that holds a function ``command``, one-line help).
    """
    app = App(
        name="bevformer",
        help="BEVFormer from a checkpoint to a quantised, verified model for AXERA NPUs.",
        version=__version__,
        result_action="return_value",
        suppress_keyboard_interrupt=False,
        error_console=Console(stderr=True),
        error_formatter=_usage_error,
    )
    for name, (module, summary) in commands.items():
        app.command(f"{module}:command", name=name, help=summary)
    return app


def _usage_error(error: CycloptsError) -> Panel:
    """Return what is shown of a wrong command line; of a pydantic model's fields, what is wrong with each option."""
    if "pydantic" in sys.modules:
        from pydantic import ValidationError

        if isinstance(error.__cause__, ValidationError):
            return CycloptsPanel("\n".join(map(_said, error.__cause__.errors())))
    return CycloptsPanel(error)


def _said(wrong: ErrorDetails) -> str:
    option = f"--{wrong['loc'][-1]}: ".replace("_", "-") if wrong["loc"] else ""
    return f"{option}{wrong['msg'].removeprefix('Value error, ')}"


def run(commands: Mapping[str, tuple[str, str]], arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: done. 1: an error that the user can act on, printed as one message. 2: wrong usage. 130: interrupted; what was
    finished is kept.
    """
    _prepare_streams()
    keep_loopback_off_proxies(os.environ)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if wrong := _unusable(given):
        sys.stderr.write(f"error: {wrong}\n")
        return EXIT_USAGE
    try:
        command, bound, _ = make_app(commands).parse_args(given, exit_on_error=False)
        require_other_outputs(bound)
        command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except CycloptsError:
        return EXIT_USAGE
    except BevformerError as error:
        sys.stderr.write("\n".join(map(_shortened, f"error: {error}".split("\n"))) + "\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; finished work is kept, the same command carries on from it\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads the output has seen enough (`| head`).
        _discard_output()
        return EXIT_ERROR
    except OSError as error:
        advice = _ADVICE.get(error.errno, "")
        sys.stderr.write(f"error: {error.filename or 'file system'}: {error.strerror or error}{advice}\n")
        _discard_output()
        return EXIT_ERROR
    return 0


def _unusable(arguments: Sequence[str]) -> str | None:
    """Return what is wrong with arguments whatever they mean: an unset variable of a script becomes an empty one."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            name = argument or (before if before.startswith("-") else "an argument")
            return f"{name} is empty; give a value, or leave it out"
        if "\0" in argument:
            return f"{argument[:_LONGEST_LINE]!r} holds a NUL character, which no name has"
    return None


def _shortened(line: str) -> str:
    """Return a line of a message that a person can read, whatever name or value stands in it."""
    left_out = len(line) - _LONGEST_LINE
    if left_out <= 0:
        return line
    half = _LONGEST_LINE // 2
    return f"{line[:half]} ... ({left_out:,} characters left out) ... {line[-half:]}"


def _prepare_streams() -> None:
    """Let output never fail for its characters, nor for being closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Send what is still in standard output's buffer nowhere, so that nothing fails on the way out either."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Entry point of the library's own commands (without the flows)."""
    sys.exit(run(LIBRARY_COMMANDS))
