"""A float graph and samples become a graph that computes with the numbers of the NPU.

What can't be known without a build is bracketed: ``main`` rounds every tensor that may be rounded, ``optimistic`` lets
movement operators, Concat and Where pass on what they read, and computes Silu as one operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from bevformer_lib.convert.ranges import SampleRuns
from bevformer_lib.emulator.constants import round_constants
from bevformer_lib.emulator.formats import FP32, U8, Quantization
from bevformer_lib.emulator.fusion import Layer, fuse
from bevformer_lib.emulator.graph import write_plan
from bevformer_lib.emulator.plan import Plan, Planner
from bevformer_lib.emulator.prepare import Prepared, prepare
from bevformer_lib.emulator.ranges import measure_ranges
from bevformer_lib.emulator.requests import resolve
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.pulsar2.build_config import BuildConfig, LayerConfig, QuantConfig

MINMAX: Final = "MinMax"
PERCENTILE: Final = "Percentile"
UNCERTAIN: Final = (
    "which outputs of movement operators are rounded again, and whether Concat aligns the scales of its inputs "
    "(bracketed by the two bounds)",
    "GridSample: whether its data is signed 16-bit and its grid unquantised, as in the vendor's own training tool",
    "LayerNormalization: rounded at its output only; its inside was never measured",
    "Percentile: which share of the values is cut off",
    "the scales of Where, Min, Max, TopK and ScatterND: taken over their own ranges",
    "smooth quantisation, transformer_opt_level and the refinement of scales: not emulated",
    "decompositions of Silu, Gelu and normalisations: fused in one measured model, rounded inside in others",
    "versions 4.2 and 5.x: never measured; the rules are those of 7.0-lite",
)
"""What is not measured, in the order of its effect."""
_NOT_EMULATED: Final = (
    "enable_smooth_quant",
    "transformer_opt_level",
    "enable_easy_quant",
    "enable_brecq",
    "enable_lsq",
    "enable_adaround",
    "highest_mix_precision",
)


@dataclass(frozen=True)
class EmulationConfig:
    """What of a build config decides the numbers.

    Attributes:
        percentile: whether ranges leave outliers out.
        grid: format of what only GridSample reads, as its grid: U8, U16 or FP32, unless the layers are asked for more.
        findings: settings without effect here.
    """

    layer_configs: tuple[LayerConfig, ...] = ()
    percentile: bool = False
    grid: str = U8
    findings: tuple[str, ...] = ()

    @classmethod
    def of_build(cls, config: BuildConfig) -> EmulationConfig:
        """Return what a Pulsar2 build config means here."""
        quant = config.quant or QuantConfig()
        method = quant.calibration_method or MINMAX
        findings = []
        if method not in (MINMAX, PERCENTILE):
            findings.append(f"quant.calibration_method {method}: gave the same bytes as MinMax in 7.0; taken as MinMax")
        findings += [f"quant.{name}: is not emulated" for name in _NOT_EMULATED if getattr(quant, name)]
        return cls(tuple(quant.layer_configs or ()), method == PERCENTILE, findings=tuple(findings))


@dataclass(frozen=True)
class EmulatedTensor:
    """How a tensor of the main graph is kept.

    Attributes:
        layer: name of the node that makes it; empty for inputs.
        op_type: type of that layer; ``Input`` for inputs.
        format: U8, S8, U16, S16 or FP32.
        scale: value of one step; 0 in float.
        zero_point: code of 0.
        lowest: smallest value over the calibration set.
        highest: largest one.
        rounded: whether it is rounded where it is made, rather than having its input's scale.
    """

    name: str
    layer: str
    op_type: str
    format: str
    scale: float
    zero_point: int
    lowest: float
    highest: float
    rounded: bool


@dataclass(frozen=True)
class EmulatedGraph:
    """A graph in both bounds, and what it was made with.

    Attributes:
        main: the pessimistic bound: all tensors rounded.
        optimistic: movement operators don't round.
        ranges: tensor -> smallest and largest value over the calibration set.
        findings: requests that have no effect, or not the wanted one.
        prepared: the float graph that both were made from.
    """

    main: onnx.ModelProto
    optimistic: onnx.ModelProto
    ranges: Mapping[str, tuple[float, float]]
    tensors: tuple[EmulatedTensor, ...]
    findings: tuple[str, ...]
    prepared: Prepared
    layers: tuple[Layer, ...]
    config: EmulationConfig
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def requantize(
        self,
        config: EmulationConfig | None = None,
        *,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        weights: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> EmulatedGraph:
        """Return the graph for another config, without measuring anything again.

        Args:
            config: ``None``: as before.
            ranges: tensor -> range to take instead of the measured one, such as a clipped one.
            weights: name of a weight -> already rounded weight to take instead.
        """
        return _build(
            self.prepared,
            config or self.config,
            {**self.ranges, **(ranges or {})},
            {**self.weights, **(weights or {})},
        )


def emulate(
    model: onnx.ModelProto,
    samples: Iterable[Mapping[str, NDArray[Any]]],
    config: EmulationConfig | None = None,
    *,
    num_samples: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> EmulatedGraph:
    """Emulate what the converter makes of a float graph.

    Args:
        model: the float graph; every node must have a name of its own.
        samples: its inputs by name.
        config: what is asked; ``None``: 8 bits throughout, MinMax.
        num_samples: how many samples there are, for the progress; ``None``: counted.
        device: where ONNX Runtime runs the float graph.
        threads: threads inside an operator, or ``None``.
        on_progress: called for every sample.

    Raises:
        ConversionError: the graph can't be emulated, or holds NaN or infinity on a sample.
        RuntimeUnavailableError: ONNX Runtime is not installed, or has no such device.
    """
    config = config or EmulationConfig()
    if num_samples is None:
        samples = list(samples)
        num_samples = len(samples)
    prepared = prepare(model)
    layers = fuse(prepared.model.graph, prepared.constants, patterns=False)
    types, _ = resolve(layers, prepared.model.graph, config.layer_configs)
    ranges = measure_ranges(
        round_constants(prepared, layers, types),
        {name: prepared.shapes.get(name, ()) for name in _measured(prepared, layers)},
        SampleRuns(samples, num_samples, device, threads, on_progress),
        percentile=config.percentile,
    )
    return _build(prepared, config, ranges, {})


def _measured(prepared: Prepared, layers: Sequence[Layer]) -> list[str]:
    fed = [value.name for value in prepared.model.graph.input]
    made = [name for layer in layers for name in layer.outputs]
    return [name for name in (*fed, *made) if prepared.is_live(name)]


def _build(
    prepared: Prepared,
    config: EmulationConfig,
    ranges: Mapping[str, tuple[float, float]],
    weights: Mapping[str, NDArray[np.float32]],
) -> EmulatedGraph:
    graph = prepared.model.graph
    layers = fuse(graph, prepared.constants, patterns=False)
    types, findings = resolve(layers, graph, config.layer_configs)
    main = Planner(prepared, layers, types, ranges, round_movement=True, grid=config.grid).plan()
    rounded = round_constants(prepared, layers, types, weights)
    fused = fuse(graph, prepared.constants, patterns=True)
    fused_types, _ = resolve(fused, graph, config.layer_configs)
    optimistic = Planner(prepared, fused, fused_types, ranges, round_movement=False, grid=config.grid).plan()
    return EmulatedGraph(
        main=write_plan(rounded, main),
        optimistic=write_plan(rounded, optimistic),
        ranges=ranges,
        tensors=_tensors(prepared, layers, main, ranges),
        findings=(*config.findings, *findings),
        prepared=prepared,
        layers=tuple(layers),
        config=replace(config),
        weights=weights,
    )


def _tensors(
    prepared: Prepared, layers: Sequence[Layer], plan: Plan, ranges: Mapping[str, tuple[float, float]]
) -> tuple[EmulatedTensor, ...]:
    makers = {name: layer.main for layer in layers for name in layer.outputs}
    tensors = []
    for name in _measured(prepared, layers):
        known: Quantization | None = plan.outputs.get(name) or plan.shared.get(name)
        maker = makers.get(name)
        tensors.append(
            EmulatedTensor(
                name=name,
                layer=maker.name if maker is not None else "",
                op_type=maker.op_type if maker is not None else "Input",
                format=known.format if known is not None else FP32,
                scale=known.scale if known is not None else 0.0,
                zero_point=known.zero_point if known is not None else 0,
                lowest=ranges[name][0],
                highest=ranges[name][1],
                rounded=name in plan.outputs,
            )
        )
    return tuple(tensors)
