"""Pulsar2 as a converter: a float ONNX graph and a calibration set become an `.axmodel`."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import ConfigDict

from bevformer_lib.calibration.pack import MANIFEST_NAME
from bevformer_lib.convert.base import Conversion
from bevformer_lib.convert.float_model import (
    float_model_sha256,
    load_float_model,
    load_graph,
    read_calibration_for,
)
from bevformer_lib.errors import BevformerError, ConversionError
from bevformer_lib.files import atomic_path, sha256_of_file
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.pulsar2.build import OUTPUT_FOLDER, Building, samples_used
from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.container import graph_specs
from bevformer_lib.pulsar2.evidence import QUANTIZATION_RECORD, collect_evidence
from bevformer_lib.pulsar2.generate import DEFAULT_HARDWARE, generate_build_config
from bevformer_lib.pulsar2.pixel_input import given_instead
from bevformer_lib.pulsar2.precision import count_types
from bevformer_lib.pulsar2.process import Limits, LineCallback
from bevformer_lib.pulsar2.proto import parse_proto
from bevformer_lib.pulsar2.quantization_record import numbers_sha256
from bevformer_lib.pulsar2.settings import Pulsar2Settings
from bevformer_lib.pulsar2.tool import Tool, ToolVersion, find_tool
from bevformer_lib.pulsar2.versions import dialect_of, refuse_unknown, version_findings

CONVERTER_NAME: Final = "pulsar2"
_DEFAULT_TIME_LIMIT_MINUTES: Final = 360.0
_BYTES_PER_GB: Final = 1_000_000_000

_log = logging.getLogger(__name__)


Audit: TypeAlias = Callable[[Path, Path, BuildConfig, Path], Sequence[str]]
"""Takes the float graph, the calibration set, the build config and the build's folder; gives findings."""


class Pulsar2Options(Pulsar2Settings):
    """How to convert.

    Attributes:
        target: the chip.
        overrides: YAML file with settings of the user's own.
        leave_out_missing: build again without layers that are not there any more when the converter looks for them;
            ``None``: where no overrides are given, so that nobody asked for these layers by name.
        profile: ask the compiler for the cycles of every layer.
        keep_build: folder to copy the build's own files into, which must not exist yet; ``None``: they go.
        on_line: called for every line of the build's log.
        cancelled: set by another thread to stop the build.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    target: str = DEFAULT_HARDWARE
    overrides: Path | None = None
    leave_out_missing: bool | None = None
    profile: bool = False
    keep_build: Path | None = None
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

    def __init__(self, options: Pulsar2Options, audit: Audit | None = None) -> None:
        """Take the settings.

        Args:
            options: how to convert.
            audit: looks at a finished build's numbers; ``None``: nothing does.
        """
        self._options = options
        self._audit = audit

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
        if self._options.keep_build is not None and self._options.keep_build.exists():
            raise ConversionError(f"{self._options.keep_build}: exists; name a new folder for the build's files")
        samples = read_calibration_for(float_model, model, calibration)
        options = self._options
        config = generate_build_config(
            load_graph(model),  # with the names that are in the file
            samples,
            options,
            target=options.target,
            overrides=options.overrides,
            keep_unknown=True,
        )
        tool = find_tool(executable=options.executable, image=options.image)
        version = tool.identify()
        dialect = dialect_of(version.version)
        definition = tool.read_first(dialect.config_protos)
        installed = None if definition is None else parse_proto(definition)
        source = str(options.overrides or f"recipe '{options.recipe}'")
        refuse_unknown(config, dialect=dialect, installed=installed, version=version.version, source=source)
        tool.stop_orphaned()
        with _work_folder(output, tool) as work:
            seconds = (options.time_limit_minutes or _DEFAULT_TIME_LIMIT_MINUTES) * 60.0
            limits = Limits(seconds, _bytes(options.memory_limit_gb), options.cancelled)
            instead = given_instead(model, samples, work)
            building = Building(
                tool, dialect, model, instead, work, limits, source, options.profile, options.on_line, on_progress
            )
            allowed = options.overrides is None if options.leave_out_missing is None else options.leave_out_missing
            built, config, left_out = (
                building.build_what_is_there(config) if allowed else (building.build(config), config, [])
            )
            evidence = collect_evidence(
                work / OUTPUT_FOLDER, built.lines, model=float_model, path=model, config=config, tool=version
            )
            folder = work / OUTPUT_FOLDER
            audited = self._audited(model, calibration, config, folder)
            findings = (*version_findings(version.version), *left_out, *evidence.findings, *audited)
            record = folder / QUANTIZATION_RECORD
            facts = {
                "tool": version.to_content(),
                "recipe": options.recipe,
                "float_model_sha256": float_model_sha256(float_model, model),
                "calibration_manifest_sha256": _sha256_if_there(samples.folder / MANIFEST_NAME),
                "axmodel_sha256": sha256_of_file(evidence.axmodel.path),
                "numbers_sha256": numbers_sha256(record) if record.is_file() else None,
                "config": config.to_content(),
                "build_seconds": built.seconds,
                **evidence.to_content(),
                "findings": list(findings),
            }
            if options.keep_build is not None:
                shutil.copytree(folder, options.keep_build, ignore=shutil.ignore_patterns("*.axmodel"))
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
            findings=findings,
        )

    def _audited(self, model: Path, calibration: Path, config: BuildConfig, build: Path) -> Sequence[str]:
        if self._audit is None or not (build / QUANTIZATION_RECORD).is_file():
            return ()
        try:
            return self._audit(model, calibration, config, build)
        except BevformerError as error:
            return (f"the build's numbers can't be audited: {error}",)


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


def _sha256_if_there(path: Path) -> str | None:
    return sha256_of_file(path) if path.is_file() else None


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * _BYTES_PER_GB)
