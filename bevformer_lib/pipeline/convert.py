"""The compiled model as a step."""

from __future__ import annotations

import dataclasses
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
class Pulsar2Settings:
    """How Pulsar2 converts, or is emulated; what is left out is the recipe's or the tool's own choice.

    Attributes:
        target: the chip.
        recipe: named settings.
        npu_mode: cores to compile for.
        overrides: YAML file with settings of the user's own.
        image: docker image, which decides the outputs; ``None``: what is found on the machine that converts.
        executable: native command on that machine.
        time_limit_seconds: longest build.
        memory_limit_gb: most memory of a build.
    """

    target: str
    recipe: str
    npu_mode: str | None = None
    overrides: Artifact | None = None
    image: str | None = None
    executable: str | None = field(default=None, metadata=NOT_IN_KEY)
    time_limit_seconds: float | None = field(default=None, metadata=NOT_IN_KEY)
    memory_limit_gb: float | None = field(default=None, metadata=NOT_IN_KEY)


@dataclass(frozen=True)
class ConvertWork(Work, step="convert", pool="cpu", packages=("onnx", "onnxruntime")):
    """Quantises the graph with the calibration set and nothing else.

    Attributes:
        calibration: the four archives and their manifest, by file name.
        converter: one of ``backends.converters.CONVERTERS``.
        device: where the embedded quantiser or the emulator runs the float model.
        pulsar2: settings of that converter or of its emulator; ``None`` for others.
    """

    graph: Artifact
    calibration: Mapping[str, Artifact]
    converter: str
    device: str = field(metadata=NOT_IN_KEY)
    pulsar2: Pulsar2Settings | None = None

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
                return self._emulate(self.pulsar2, store, graph, calibration, output, on_progress)
            return self._compile(self.pulsar2, store, graph, calibration, output, on_progress)

    def _emulate(
        self,
        settings: Pulsar2Settings,
        store: Store,
        graph: Path,
        calibration: Path,
        output: Path,
        on_progress: ProgressCallback,
    ) -> Mapping[str, Any]:
        backend = import_module(CONVERTERS[EMULATOR])
        overrides = None if settings.overrides is None else open_artifact(store, settings.overrides)
        options = backend.EmulatorOptions(settings.recipe, settings.target, overrides=overrides, device=self.device)
        conversion: EmulatorConversion = backend.EmulatorConverter(options).convert(
            graph, calibration, output, on_progress=on_progress
        )
        write_json(output.with_name(EMULATION_FACTS), conversion.facts)
        return {**_facts(conversion), "findings": list(conversion.findings)}

    def _compile(
        self,
        settings: Pulsar2Settings,
        store: Store,
        graph: Path,
        calibration: Path,
        output: Path,
        on_progress: ProgressCallback,
    ) -> Mapping[str, Any]:
        backend = import_module(CONVERTERS[PULSAR2])
        chosen = {name: value for name, value in dataclasses.asdict(settings).items() if value is not None}
        if settings.overrides is not None:
            chosen["overrides"] = open_artifact(store, settings.overrides)
        if settings.executable is not None:
            chosen["executable"] = Path(settings.executable)
        with output.with_name(CONVERSION_LOG).open("w", encoding="utf-8") as log:

            def keep(line: str) -> None:
                log.write(line + "\n")
                on_progress("convert", 0, 1)  # which also ends a build that was cancelled

            options = backend.Pulsar2Options(**chosen, on_line=keep)
            converter: Pulsar2Converter = backend.Pulsar2Converter(options)
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
