"""The compiled model as a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bevformer_lib.backends.converters import CONVERTERS, EMULATOR, PULSAR2, open_converter
from bevformer_lib.files import write_json
from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.pipeline.linked import linked_folder
from bevformer_lib.pipeline.runtimes import unload_models
from bevformer_lib.pipeline.work import NOT_IN_KEY, Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

if TYPE_CHECKING:
    from bevformer_lib.convert.base import Conversion
    from bevformer_lib.emulator.converter import EmulatorConversion
    from bevformer_lib.pulsar2.converter import Pulsar2Converter

QUANTIZED: Final = "model_int8.onnx"
COMPILED: Final = "model.axmodel"
CONVERSION_FACTS: Final = "conversion.json"
EMULATION_FACTS: Final = "emulation.json"
OPTIMISTIC: Final = "model_int8_optimistic.onnx"
"""The other bound of an emulation."""
CONVERSION_LOG: Final = "conversion.log"


@dataclass(frozen=True)
class Pulsar2Inputs:
    """What Pulsar2, or its emulator, is told.

    Attributes:
        target: the chip.
        settings: what is given of :class:`~bevformer_lib.pulsar2.settings.Pulsar2Settings` that decides the outputs.
        overrides: YAML file with settings of the user's own.
        machine: settings that say where and how long a build runs.
    """

    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: Artifact | None = None
    machine: Mapping[str, Any] = field(default_factory=dict, metadata=NOT_IN_KEY)

    def options(self, store: Store) -> dict[str, Any]:
        """Return the options of a converter."""
        overrides = None if self.overrides is None else open_artifact(store, self.overrides)
        return {"target": self.target, "overrides": overrides, **self.settings, **self.machine}


@dataclass(frozen=True)
class ConvertWork(Work, step="convert", pool="cpu", packages=("onnx", "onnxruntime")):
    """Quantises the graph with the calibration set and nothing else.

    Attributes:
        calibration: the four archives and their manifest, by file name.
        converter: one of ``backends.converters.CONVERTERS``.
        device: where the embedded quantiser or the emulator runs the float model.
        pulsar2: what Pulsar2 or its emulator is told; ``None`` for other converters.
    """

    graph: Artifact
    calibration: Mapping[str, Artifact]
    converter: str
    device: str = field(metadata=NOT_IN_KEY)
    pulsar2: Pulsar2Inputs | None = None

    @property
    def output(self) -> str:
        """Name of the compiled model among the outputs."""
        return COMPILED if self.converter == PULSAR2 else QUANTIZED

    @property
    def modules(self) -> tuple[str, ...]:
        """Of the converter."""
        return (CONVERTERS[self.converter],)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Convert. See :meth:`bevformer_lib.convert.base.Converter.convert` for what it raises."""
        unload_models()
        output = folder / self.output
        with linked_folder(store, self.calibration) as calibration:
            graph = open_artifact(store, self.graph)
            if self.pulsar2 is None:
                converter = open_converter(self.converter, device=self.device)
                return _facts(converter.convert(graph, calibration, output, on_progress=on_progress))
            if self.converter == EMULATOR:
                return self._emulate(self.pulsar2.options(store), graph, calibration, output, on_progress)
            return self._compile(self.pulsar2.options(store), graph, calibration, output, on_progress)

    def _emulate(
        self,
        options: Mapping[str, Any],
        graph: Path,
        calibration: Path,
        output: Path,
        on_progress: ProgressCallback,
    ) -> Mapping[str, Any]:
        backend = import_module(CONVERTERS[EMULATOR])
        emulator = backend.EmulatorConverter(backend.EmulatorOptions(**options, device=self.device))
        conversion: EmulatorConversion = emulator.convert(graph, calibration, output, on_progress=on_progress)
        write_json(output.with_name(EMULATION_FACTS), conversion.facts)
        return {**_facts(conversion), "findings": list(conversion.findings)}

    def _compile(
        self,
        options: Mapping[str, Any],
        graph: Path,
        calibration: Path,
        output: Path,
        on_progress: ProgressCallback,
    ) -> Mapping[str, Any]:
        backend = import_module(CONVERTERS[PULSAR2])
        with output.with_name(CONVERSION_LOG).open("w", encoding="utf-8") as log:

            def keep(line: str) -> None:
                log.write(line + "\n")
                on_progress("convert", 0, 1)  # which also ends a build that was cancelled

            converter: Pulsar2Converter = backend.Pulsar2Converter(backend.Pulsar2Options(**options, on_line=keep))
            conversion = converter.convert(graph, calibration, output, on_progress=on_progress)
        on_progress("convert", 1, 1)
        write_json(output.with_name(CONVERSION_FACTS), conversion.facts)
        return {**_facts(conversion), "findings": list(conversion.findings)}


def _facts(conversion: Conversion) -> dict[str, Any]:
    return {
        "settings": dict(conversion.settings),
        "num_samples": conversion.num_samples,
        "quantized_nodes": dict(conversion.quantized_nodes),
        "float_nodes": dict(conversion.float_nodes),
        "bytes_before": conversion.bytes_before,
        "bytes_after": conversion.bytes_after,
    }
