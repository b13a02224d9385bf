"""Pulsar2 as a converter: a float ONNX graph and a calibration set become an `.axmodel`."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.calibration.pack import MANIFEST_NAME
from bevformer_lib.convert.base import Conversion
from bevformer_lib.convert.float_model import (
    check_inputs,
    external_files,
    float_model_sha256,
    load_float_model,
    load_graph,
)
from bevformer_lib.errors import ConversionError
from bevformer_lib.files import atomic_path, sha256_of_file
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.container import graph_specs
from bevformer_lib.pulsar2.errors import BuildConfigError, BuildFailedError, BuildMemoryError
from bevformer_lib.pulsar2.evidence import OUTPUT_NAME, collect_evidence
from bevformer_lib.pulsar2.generate import DEFAULT_HARDWARE, generate_build_config, with_host_paths
from bevformer_lib.pulsar2.log import (
    calibration_progress,
    last_meaningful_lines,
    ran_out_of_memory,
    refuses_config,
)
from bevformer_lib.pulsar2.missing_layers import MOST_ATTEMPTS, missing_layers, without_layers
from bevformer_lib.pulsar2.precision import count_types
from bevformer_lib.pulsar2.process import Completed, Limits, LineCallback, run_child
from bevformer_lib.pulsar2.recipes import DEFAULT_RECIPE
from bevformer_lib.pulsar2.tool import Mount, Tool, ToolVersion, find_tool, named_link

CONVERTER_NAME: Final = "pulsar2"
DEFAULT_TIME_LIMIT_SECONDS: Final = 6 * 3600.0
OUTPUT_FOLDER: Final = "output"
MODEL_FILE: Final = "model.onnx"
CONFIG_FILE: Final = "build_config.json"
_KILLED: Final = frozenset({137, -9})
_BYTES_PER_GB: Final = 1_000_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pulsar2Options:
    """How to convert.

    Attributes:
        recipe: named settings.
        target: the chip.
        npu_mode: cores to compile for; ``None``: the recipe's choice, else all that the chip has.
        overrides: YAML file with settings of the user's own.
        image: docker image; ``None``: found.
        executable: native command; ``None``: found.
        time_limit_seconds: longest build.
        memory_limit_gb: most memory of a build; ``None``: no limit.
        leave_out_missing: build again without layers that are not there any more when the converter looks for them;
            ``None``: where no overrides are given, so that nobody asked for these layers by name.
        on_line: told of every line of the build's log.
        cancelled: set by another thread to stop the build.
    """

    recipe: str = DEFAULT_RECIPE
    target: str = DEFAULT_HARDWARE
    npu_mode: str | None = None
    overrides: Path | None = None
    image: str | None = None
    executable: Path | None = None
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS
    memory_limit_gb: float | None = None
    leave_out_missing: bool | None = None
    on_line: LineCallback | None = None
    cancelled: threading.Event | None = None


@dataclass(frozen=True)
class Pulsar2Conversion(Conversion):
    """A conversion by Pulsar2, with its evidence.

    Attributes:
        facts: plain data for a report: the tool, the config, the log's figures, the compiled model's interface, the
            precision table and the findings.
        findings: requests that had no effect, and what else should be looked at.
    """

    facts: Mapping[str, Any]
    findings: tuple[str, ...]


class Pulsar2Converter:
    """Runs `pulsar2 build`, and believes what it built rather than what was asked."""

    def __init__(self, options: Pulsar2Options) -> None:
        self._options = options

    def convert(
        self, model: Path, calibration: Path, output: Path, *, on_progress: ProgressCallback = no_progress
    ) -> Pulsar2Conversion:
        """Convert ``model`` with the archives in ``calibration``, and write ``output`` (.axmodel) atomically.

        Raises:
            ToolMissingError: neither docker nor a native pulsar2 works.
            ImageMissingError: the docker image is not loaded.
            BuildConfigError: the settings are wrong.
            BuildFailedError: the build failed, or made something else than this model.
            BuildTimeoutError: it took too long.
            BuildMemoryError: it was killed for memory.
            BuildCancelledError: it was cancelled.
            ConversionError: the model can't be read or does not fit the set, or the output can't be written.
            CalibrationError: the calibration set is broken.
        """
        started = time.perf_counter()
        float_model = load_float_model(model)
        graph_specs([*float_model.graph.input, *float_model.graph.output], model)
        if output.resolve() == model.resolve():
            raise ConversionError(f"{output}: is the float model itself; give another output")
        samples = read_calibration(calibration)
        check_inputs(float_model, model, samples)
        options = self._options
        config = generate_build_config(
            load_graph(model),  # with the names that are in the file
            samples,
            recipe=options.recipe,
            target=options.target,
            npu_mode=options.npu_mode,
            overrides=options.overrides,
        )
        tool = find_tool(executable=options.executable, image=options.image)
        version = tool.identify()
        tool.stop_orphaned()
        with _work_folder(output, tool) as work:
            built, config, left_out = self._build_what_is_there(tool, model, config, work, on_progress)
            evidence = collect_evidence(
                work / OUTPUT_FOLDER, built.lines, model=float_model, path=model, config=config, tool=version
            )
            facts = {
                "tool": version.to_content(),
                "recipe": options.recipe,
                "float_model_sha256": float_model_sha256(float_model, model),
                "calibration_manifest_sha256": _sha256_if_there(samples.folder / MANIFEST_NAME),
                "axmodel_sha256": sha256_of_file(evidence.axmodel.path),
                "config": config.to_content(),
                "build_seconds": built.seconds,
                **evidence.to_content(),
                "findings": [*left_out, *evidence.findings],
            }
            try:
                with atomic_path(output) as temporary:
                    shutil.copyfile(evidence.axmodel.path, temporary)
            except OSError as error:
                raise ConversionError(f"{output}: {error.strerror or error}; nothing was written") from error
        return Pulsar2Conversion(
            output=output,
            converter=CONVERTER_NAME,
            settings=_settings(config, options, version),
            num_samples=samples_used(config, samples.num_samples),
            quantized_nodes=count_types(evidence.operators, in_float=False),
            float_nodes=count_types(evidence.operators, in_float=True),
            bytes_before=model.stat().st_size,
            bytes_after=output.stat().st_size,
            seconds=time.perf_counter() - started,
            facts=facts,
            findings=(*left_out, *evidence.findings),
        )

    def _build_what_is_there(
        self, tool: Tool, model: Path, config: BuildConfig, work: Path, on_progress: ProgressCallback
    ) -> tuple[Completed, BuildConfig, list[str]]:
        """Build, and where layers that nobody asked for by name are gone when the tool looks for them, without these.

        Returns:
            The build, its config, and a finding for every layer that was left out.
        """
        options = self._options
        allowed = options.overrides is None if options.leave_out_missing is None else options.leave_out_missing
        left_out: list[str] = []
        for _ in range(MOST_ATTEMPTS if allowed else 0):
            try:
                return self._build(tool, model, config, work, on_progress), config, left_out
            except (BuildFailedError, BuildConfigError) as error:
                gone = missing_layers(config, str(error))
                if not gone:
                    raise
                _log.warning("%s: building again without %s, fused away or never there", model, ", ".join(gone))
                config = without_layers(config, gone)
                left_out += [f"layer_configs: no operator '{name}' when it was looked for; left out" for name in gone]
                tool.remove(work / OUTPUT_FOLDER)
                (work / MODEL_FILE).unlink(missing_ok=True)
        return self._build(tool, model, config, work, on_progress), config, left_out

    def _build(
        self, tool: Tool, model: Path, config: BuildConfig, work: Path, on_progress: ProgressCallback
    ) -> Completed:
        """Run `pulsar2 build` into the work folder; raise the error that fits if it fails."""
        options = self._options
        inputs = _InputMounts(tool)
        output_folder = work / OUTPUT_FOLDER
        output_folder.mkdir()
        content = with_host_paths(config.to_content(), inputs.place)
        config_file = work / CONFIG_FILE
        config_file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written = tool.mount(output_folder, "output", writable=True)
        given = inputs.place(str(named_link(model, work / MODEL_FILE)), name=MODEL_FILE)
        for name in external_files(model):
            inputs.place(str(model.parent / name), name=name)
        arguments = [
            "build",
            *("--target_hardware", str(config.target_hardware)),
            *("--npu_mode", str(config.npu_mode)),
            *("--input", given),
            *("--config", inputs.place(str(config_file), name=CONFIG_FILE)),
            *("--output_dir", written.inside),
            *("--output_name", OUTPUT_NAME),
        ]
        memory = None if options.memory_limit_gb is None else int(options.memory_limit_gb * _BYTES_PER_GB)
        invocation = tool.invocation(arguments, [*inputs.mounts, written], memory)
        _log.debug("running %s", " ".join(invocation.command))
        completed = run_child(
            invocation,
            limits=Limits(options.time_limit_seconds, memory, options.cancelled),
            on_line=_watch(options.on_line, on_progress),
        )
        if completed.returncode != 0:
            raise _failure(model, config, completed, options)
        return completed


class _InputMounts:
    """The files that the tool reads, each mounted by itself under a name of its own."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self.mounts: list[Mount] = []

    def place(self, host: str, name: str | None = None) -> str:
        """Return the path of a file or folder as the tool sees it.

        Raises:
            BuildConfigError: it does not exist.
        """
        path = Path(host)
        if not path.exists():
            raise BuildConfigError(f"{path}: no such file or folder, but the build config names it; correct the path")
        mount = self._tool.mount(path.absolute(), f"input/{name or f'{len(self.mounts)}_{path.name}'}")
        self.mounts.append(mount)
        return mount.inside


@contextlib.contextmanager
def _work_folder(output: Path, tool: Tool) -> Iterator[Path]:
    """Give a folder beside ``output`` that is gone afterwards, whatever happens."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{output.stem}.pulsar2-", dir=output.parent))
    except OSError as error:
        raise ConversionError(f"{output.parent}: {error.strerror or error}; choose a folder to write to") from error
    try:
        yield work
    finally:
        tool.remove(work)
        if work.exists():
            _log.warning("%s: can't be removed (the container's root user owns its files); remove it", work)


def _watch(on_line: LineCallback | None, on_progress: ProgressCallback) -> LineCallback:
    def watch(line: str) -> None:
        if on_line is not None:
            on_line(line)
        if (progress := calibration_progress(line)) is not None:
            phase, done, total = progress
            on_progress(f"calibrate, phase {phase}", done, total)

    return watch


def _failure(model: Path, config: BuildConfig, completed: Completed, options: Pulsar2Options) -> ConversionError:
    """Return the error that says why a build failed."""
    said = "\n".join(f"  {line}" for line in last_meaningful_lines(completed.lines)) or "  (nothing)"
    if completed.returncode in _KILLED or ran_out_of_memory(completed.lines):
        limit = "" if options.memory_limit_gb is None else f" (limit: {options.memory_limit_gb:g} GB)"
        samples = samples_used(config, 0)
        return BuildMemoryError(
            f"{model}: pulsar2 build was killed for memory{limit}; allow more, or use fewer than {samples} calibration "
            f"samples. It said last:\n{said}"
        )
    if refuses_config(completed.lines):
        return BuildConfigError(f"{options.overrides or model}: pulsar2 build refused its config. It said:\n{said}")
    return BuildFailedError(f"{model}: pulsar2 build failed with exit status {completed.returncode}. It said:\n{said}")


def _settings(config: BuildConfig, options: Pulsar2Options, version: ToolVersion) -> dict[str, str]:
    quant = config.quant
    return {
        "recipe": options.recipe,
        "target": str(config.target_hardware),
        "npu_mode": str(config.npu_mode),
        "calibration_method": (quant.calibration_method if quant is not None else None) or "MinMax",
        "pulsar2": version.version,
        **({"overrides": options.overrides.name} if options.overrides is not None else {}),
    }


def samples_used(config: BuildConfig, num_samples: int) -> int:
    """Return how many calibration samples the converter takes of a set."""
    inputs = (config.quant.input_configs if config.quant is not None else None) or []
    sizes = [entry.calibration_size for entry in inputs if entry.calibration_size not in (None, -1)]
    return min([size for size in sizes if size is not None], default=num_samples)


def _sha256_if_there(path: Path) -> str | None:
    return sha256_of_file(path) if path.is_file() else None
