"""The emulator as a converter: what Pulsar2 would make of a graph, told by the same settings, without the tool."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx

from bevformer_lib.calibration.pack import MANIFEST_NAME
from bevformer_lib.convert.base import METADATA_PREFIX, PTQ_PASSES, Conversion
from bevformer_lib.convert.float_model import float_model_sha256, load_float_model, load_graph, read_calibration_for
from bevformer_lib.emulator.emulate import UNCERTAIN, EmulatedGraph, EmulationConfig, emulate
from bevformer_lib.emulator.emulation import optimistic_path
from bevformer_lib.emulator.formats import FP32
from bevformer_lib.emulator.replay import replay
from bevformer_lib.errors import ConversionError
from bevformer_lib.files import atomic_path, require_writable_file, sha256_of_file
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.pulsar2.build import samples_used
from bevformer_lib.pulsar2.generate import DEFAULT_HARDWARE, generate_build_config
from bevformer_lib.pulsar2.quantization_record import read_record
from bevformer_lib.pulsar2.settings import Pulsar2Settings

CONVERTER_NAME: Final = "emulator"
MAIN: Final = "all tensors rounded"
OPTIMISTIC: Final = "movement operators not rounded"
_OWN_METADATA_OF_TOOL: Final = "onnx.infer"


class EmulatorOptions(Pulsar2Settings):
    """How to convert, in the words of Pulsar2; what only compiling needs has no effect.

    Attributes:
        target: the chip.
        overrides: YAML file with settings of the user's own.
        build: output folder of a real build, whose numbers are taken instead of predicted ones.
        device: where ONNX Runtime runs the float graph: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads inside an operator; ``None``: one per physical core.
    """

    target: str = DEFAULT_HARDWARE
    overrides: Path | None = None
    build: Path | None = None
    device: str = "cpu"
    threads: int | None = None


@dataclass(frozen=True)
class EmulatorConversion(Conversion):
    """An emulation.

    Attributes:
        optimistic: the graph of the other bound.
        facts: plain data for a report: the config, every tensor's format, what is uncertain, and the findings.
        findings: requests that have no effect, and what else should be looked at.
    """

    optimistic: Path
    facts: Mapping[str, Any]
    findings: tuple[str, ...]


class EmulatorConverter:
    """Works out the converter's numbers; same inputs, same bytes."""

    def __init__(self, options: EmulatorOptions | None = None) -> None:
        self._options = options or EmulatorOptions()

    def convert(
        self, model: Path, calibration: Path, output: Path, *, on_progress: ProgressCallback = no_progress
    ) -> EmulatorConversion:
        """Emulate ``model`` with the archives in ``calibration``; write ``output`` and the optimistic bound beside it.

        Raises:
            BuildConfigError: the settings are wrong.
            ConversionError: the model or the real build's record can't be read, the model can't be emulated or does
                not fit the calibration set, or the output can't be written.
            CalibrationError: the calibration set is broken.
            OutputError: nothing can be written there.
            RuntimeUnavailableError: ONNX Runtime is not installed, or has no such device.
        """
        started = time.perf_counter()
        options = self._options
        float_model = load_float_model(model)
        if output.resolve() == model.resolve():
            raise ConversionError(f"{output}: is the float model itself; give another output")
        if output.suffix != ".onnx":
            raise ConversionError(f"{output}: name the emulated model to write with the suffix .onnx")
        require_writable_file(output)
        samples = read_calibration_for(float_model, model, calibration)
        record = None if options.build is None else read_record(options.build)
        build_config = generate_build_config(
            load_graph(model),
            samples,
            options,
            target=options.target,
            overrides=options.overrides,
        )
        num_samples = samples_used(build_config, samples.num_samples)
        emulated = emulate(
            float_model,
            itertools.islice(samples, num_samples),
            EmulationConfig.of_build(build_config),
            num_samples=num_samples,
            device=options.device,
            threads=options.threads,
            on_progress=on_progress,
        )
        replayed = None if record is None else replay(emulated, record)
        findings = (*emulated.findings, *(replayed.findings if replayed is not None else ()))
        content = build_config.to_content()
        provenance = _provenance(float_model, model, samples.folder / MANIFEST_NAME, num_samples, options)
        for graph, path, bound in (
            ((replayed or emulated).main, output, MAIN),
            ((replayed or emulated).optimistic, optimistic_path(output), OPTIMISTIC),
        ):
            _save(graph, path, {**provenance, f"{METADATA_PREFIX}bound": bound})
        facts = {
            "recipe": options.recipe,
            "ptq_passes": provenance.get(PTQ_PASSES, ""),
            "float_model_sha256": float_model_sha256(float_model, model),
            "config": content,
            "bounds": {MAIN: output.name, OPTIMISTIC: optimistic_path(output).name},
            "tensors": [vars(tensor) for tensor in emulated.tensors],
            "uncertain": list(UNCERTAIN),
            "build": None if record is None else {"record_sha256": sha256_of_file(record.path)},
            "findings": list(findings),
        }
        quantized, in_float = _counts(emulated)
        return EmulatorConversion(
            output=output,
            converter=CONVERTER_NAME,
            settings={
                "recipe": options.recipe,
                "target": options.target,
                "calibration_method": content["quant"].get("calibration_method", "MinMax"),
                **({"overrides": options.overrides.name} if options.overrides is not None else {}),
            },
            num_samples=num_samples,
            quantized_nodes=quantized,
            float_nodes=in_float,
            bytes_before=model.stat().st_size,
            bytes_after=output.stat().st_size,
            seconds=time.perf_counter() - started,
            optimistic=optimistic_path(output),
            facts=facts,
            findings=findings,
        )


def _counts(emulated: EmulatedGraph) -> tuple[dict[str, int], dict[str, int]]:
    """Return layers by type: those that put out integers, and those in float."""
    made = [tensor for tensor in emulated.tensors if tensor.layer]
    integers = {tensor.layer: tensor.op_type for tensor in made if tensor.format != FP32}
    floats = {tensor.layer: tensor.op_type for tensor in made if tensor.layer not in integers}
    return dict(sorted(Counter(integers.values()).items())), dict(sorted(Counter(floats.values()).items()))


def _provenance(
    float_model: onnx.ModelProto, path: Path, manifest: Path, num_samples: int, options: EmulatorOptions
) -> dict[str, str]:
    """Return the float graph's metadata and what was done to it; no time stamps, no paths."""
    import onnxruntime

    properties = {entry.key: entry.value for entry in float_model.metadata_props if entry.key != _OWN_METADATA_OF_TOOL}
    added = {
        "converter": CONVERTER_NAME,
        "float_model_sha256": float_model_sha256(float_model, path),
        "num_samples": str(num_samples),
        "recipe": options.recipe,
        "target": options.target,
        "uncertain": json.dumps(UNCERTAIN),
        "version.onnx": onnx.__version__,
        "version.onnxruntime": onnxruntime.__version__,
    }
    if options.build is not None:
        added["build_record_sha256"] = sha256_of_file(read_record(options.build).path)
    if options.overrides is not None:
        added["overrides_sha256"] = sha256_of_file(options.overrides)
    if manifest.is_file():
        added["calibration_manifest_sha256"] = sha256_of_file(manifest)
    return {**properties, **{f"{METADATA_PREFIX}{key}": value for key, value in added.items()}}


def _save(model: onnx.ModelProto, output: Path, properties: Mapping[str, str]) -> None:
    own = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**properties, **own})
    try:
        with atomic_path(output) as temporary:
            temporary.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ConversionError(f"{output}: {error.strerror or error}; nothing was written") from error
