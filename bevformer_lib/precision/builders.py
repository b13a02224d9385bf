"""How a candidate is made that keeps some groups: the embedded quantiser, the emulator, or any converter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnx

from bevformer_lib.convert.base import Converter
from bevformer_lib.convert.float_model import load_float_model, load_graph, read_calibration_for
from bevformer_lib.convert.onnxruntime import quantize_nodes
from bevformer_lib.convert.ranges import Range, SampleRuns, activation_ranges
from bevformer_lib.convert.selection import select_nodes
from bevformer_lib.emulator.emulate import EmulatedGraph, EmulationConfig, emulate
from bevformer_lib.emulator.fusion import pixel_inputs
from bevformer_lib.errors import ConversionError, RuntimeUnavailableError
from bevformer_lib.files import write_json
from bevformer_lib.precision.requests import layer_configs
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.pulsar2.build_config import LayerConfig
from bevformer_lib.pulsar2.generate import DEFAULT_HARDWARE, generate_build_config
from bevformer_lib.pulsar2.settings import Pulsar2Settings, RecipeName
from bevformer_lib.runtime.base import Runtime

RANGES_FILE: Final = "ranges.json"


class CandidateBuilder(Protocol):
    """Makes and loads candidates."""

    suffix: str
    """Of the file that it writes."""

    def build(self, kept: Collection[str], output: Path) -> None:
        """Write a model in which these layers are kept and all others are quantised."""

    def open(self, model: Path) -> Runtime:
        """Load what it wrote."""


class _OnnxBuilder:
    """Candidates that ONNX Runtime runs."""

    suffix = ".onnx"

    def __init__(self, device: str, threads: int | None) -> None:
        self._device, self._threads = device, threads

    def open(self, model: Path) -> Runtime:
        """Load a candidate with ONNX Runtime."""
        from bevformer_lib.runtime.onnxruntime import OnnxRuntime

        return OnnxRuntime(model, device=self._device, threads=self._threads)


class EmbeddedBuilder(_OnnxBuilder):
    """The embedded quantiser; kept layers stay in float. The model is calibrated once, and the ranges are kept."""

    def __init__(
        self,
        model: Path,
        calibration: Path,
        state: Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        on_progress: ProgressCallback = no_progress,
    ) -> None:
        """Calibrate, or read the ranges of an earlier run.

        Args:
            model: the float model.
            calibration: folder with the four archives.
            state: folder for the ranges; of this model and this set alone.
            device: where models run.
            threads: threads inside an operator.
            on_progress: called with the progress of the samples.

        Raises:
            ConversionError: the model can't be read or does not fit the set.
            CalibrationError: the set is broken.
        """
        super().__init__(device, threads)
        self._float_path = model
        self._model = load_float_model(model)
        self.layers = select_nodes(self._model.graph).layers
        path = state / RANGES_FILE
        if not path.is_file():
            samples = read_calibration_for(self._model, model, calibration)
            runs = SampleRuns(samples, samples.num_samples, device, threads, on_progress)
            ranges = activation_ranges(self._model, select_nodes(self._model.graph).tensors, runs)
            write_json(path, {name: [float(low), float(high)] for name, (low, high) in ranges.items()})
        self._ranges: dict[str, Range] = {
            name: (np.float32(low), np.float32(high)) for name, (low, high) in json.loads(path.read_text()).items()
        }

    def build(self, kept: Collection[str], output: Path) -> None:
        """Write a model in which these layers are in float and all others in 8 bits."""
        if set(self.layers) <= set(kept):
            shutil.copyfile(self._float_path, output)
            return
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        quantized = quantize_nodes(model, select_nodes(model.graph, kept), self._ranges, kept)
        output.write_bytes(quantized.SerializeToString())


class EmulatorBuilder(_OnnxBuilder):
    """The emulator of the NPU's converter; kept layers are in 16 bits, all others in 8.

    The model is calibrated once, with all constants in 8 bits. As overrides do, the kept layers take the place of what
    the recipe asks of layers.
    """

    def __init__(
        self,
        model: Path,
        calibration: Path,
        *,
        recipe: RecipeName,
        target: str = DEFAULT_HARDWARE,
        device: str = "cpu",
        threads: int | None = None,
        on_progress: ProgressCallback = no_progress,
    ) -> None:
        """Calibrate.

        Raises:
            BuildConfigError: the settings are wrong.
            ConversionError: the model can't be read or emulated, or does not fit the set.
            CalibrationError: the set is broken.
        """
        float_model = load_float_model(model)
        samples = read_calibration_for(float_model, model, calibration)
        config = generate_build_config(load_graph(model), samples, Pulsar2Settings(recipe=recipe), target=target)
        super().__init__(device, threads)
        self._emulated = emulate(
            float_model,
            samples,
            replace(EmulationConfig.of_build(config), layer_configs=()),
            num_samples=samples.num_samples,
            device=device,
            threads=threads,
            on_progress=on_progress,
        )
        pixels = pixel_inputs(float_model.graph)
        layers = [layer for layer in self._emulated.layers if not pixels.intersection(layer.nodes[0].input)]
        built = (node for layer in layers for node in (layer.main, layer.bias) if node is not None)
        self.layers = tuple(node.name for node in built)
        """Those that can be asked for by name: what is fused into them follows them, but for the Add of a bias."""

    def build(self, kept: Collection[str], output: Path) -> None:
        """Write the pessimistic bound with these layers in 16 bits."""
        output.write_bytes(self._with(kept).main.SerializeToString())

    def findings(self, kept: Collection[str]) -> tuple[str, ...]:
        """Return what the converter would not grant of a set."""
        return self._with(kept).findings

    def _with(self, kept: Collection[str]) -> EmulatedGraph:
        asked = tuple(LayerConfig(**one) for one in layer_configs(sorted(kept)))
        return self._emulated.requantize(replace(self._emulated.config, layer_configs=asked))


class ConverterBuilder:
    """Any converter that can be told which layers to keep."""

    def __init__(
        self,
        model: Path,
        calibration: Path,
        *,
        converter_for: Callable[[Sequence[str]], Converter],
        open_model: Callable[[Path], Runtime],
        suffix: str,
    ) -> None:
        """Bind a converter.

        Args:
            model: the float model.
            calibration: folder with the four archives.
            converter_for: returns a converter that keeps these layers.
            open_model: loads what it wrote.
            suffix: of the file that it writes.
        """
        self._model, self._calibration = model, calibration
        self._converter_for, self._open_model = converter_for, open_model
        self.suffix = suffix

    def build(self, kept: Collection[str], output: Path) -> None:
        """Convert with these layers kept."""
        self._converter_for(sorted(kept)).convert(self._model, self._calibration, output, on_progress=no_progress)

    def open(self, model: Path) -> Runtime:
        """Load what the converter wrote."""
        try:
            return self._open_model(model)
        except RuntimeUnavailableError as error:
            raise ConversionError(f"what the converter made can't be run to try it ({error})") from error
