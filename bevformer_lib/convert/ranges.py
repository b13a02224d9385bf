"""The ranges that activations take over a calibration set.

The graph itself reduces every wanted tensor to its minimum and maximum, so that two numbers per tensor and sample
leave it. Memory is that of one inference, however many samples and tensors there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bevformer_lib.errors import ConversionError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scratch import temporary_folder

Range = tuple[np.float32, np.float32]

_REDUCTIONS: Final = ("ReduceMin", "ReduceMax", "ReduceSumSquare")


@dataclass(frozen=True)
class ReducedTensor:
    """What is kept of a tensor over all samples.

    Attributes:
        deviation: root of the mean square of its values.
    """

    lowest: float
    highest: float
    deviation: float


@dataclass(frozen=True)
class SampleRuns:
    """Runs of graphs over calibration samples.

    Attributes:
        samples: at least the graphs' inputs by name.
        num_samples: how many samples there are.
        device: where ONNX Runtime runs the graphs.
        threads: threads inside an operator; ``None``: its own choice.
        on_progress: called for every sample that was dealt with.
    """

    samples: Iterable[Mapping[str, NDArray[Any]]]
    num_samples: int
    device: str = "cpu"
    threads: int | None = None
    on_progress: ProgressCallback = no_progress

    def outputs(self, model: onnx.ModelProto, task: str = "calibrate") -> Iterator[dict[str, NDArray[Any]]]:
        """Run a graph made for the purpose and yield its outputs by name, sample by sample.

        Raises:
            RuntimeUnavailableError: ONNX Runtime is not installed, or has no such device.
        """
        with temporary_folder() as folder:
            path = folder / "ranges.onnx"
            path.write_bytes(model.SerializeToString())
            runtime = OnnxRuntime(path, device=self.device, threads=self.threads)
            for number, sample in enumerate(self.samples, start=1):
                yield runtime.run({name: sample[name] for name in runtime.inputs})
                self.on_progress(task, number, self.num_samples)


def activation_ranges(model: onnx.ModelProto, tensors: Sequence[str], runs: SampleRuns) -> dict[str, Range]:
    """Run a model over samples and return the smallest and largest value of tensors inside it.

    Args:
        model: the float model.
        tensors: names of float32 tensors of the graph, in graph order.
        runs: over the samples.

    Raises:
        ConversionError: a tensor holds NaN or infinity.
    """
    lowest = np.full(len(tensors), np.inf, dtype=np.float32)
    highest = np.full(len(tensors), -np.inf, dtype=np.float32)
    for minima, maxima in _reduced_runs(model, tensors, runs, _REDUCTIONS[:2]):
        lowest, highest = np.minimum(lowest, minima), np.maximum(highest, maxima)
    return {name: (lowest[place], highest[place]) for place, name in enumerate(tensors)}


def activation_reductions(
    model: onnx.ModelProto, sizes: Mapping[str, int], runs: SampleRuns
) -> dict[str, ReducedTensor]:
    """As :func:`activation_ranges`, with the spread of the values; ``sizes`` are the tensors' numbers of values."""
    reduced = list(_reduced_runs(model, list(sizes), runs, _REDUCTIONS))
    if not reduced:
        return {}
    lowest, highest, squares = (np.stack([run[kind] for run in reduced]).astype(np.float64) for kind in range(3))
    deviations = np.sqrt(squares.mean(axis=0) / np.array(list(sizes.values())))
    return {
        name: ReducedTensor(float(lowest[:, place].min()), float(highest[:, place].max()), float(deviations[place]))
        for place, name in enumerate(sizes)
    }


def _reduced_runs(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    runs: SampleRuns,
    operators: Sequence[str],
) -> Iterator[list[NDArray[np.float32]]]:
    """Give, per sample, what every operator makes of every tensor: the smallest values first, then the largest."""
    for number, outputs in enumerate(runs.outputs(_with_reductions(model, tensors, operators)), start=1):
        reduced = [
            np.array([outputs[_reduced(operator, place)] for place in range(len(tensors))]) for operator in operators
        ]
        finite = np.isfinite(reduced[0]) & np.isfinite(reduced[1])
        if not finite.all():
            raise ConversionError(
                f"calibration sample {number}: '{tensors[int(np.argmin(finite))]}' in the float model holds NaN "
                "or infinity; check the model with 'bevformer infer' before quantising it"
            )
        yield reduced


def without_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that puts nothing out, to add what is wanted of its tensors.

    ONNX Runtime works its way to the outputs from the last node to the first. So what is made of the tensors nearest to
    the inputs should be added last: each is reduced as soon as it is there, and can go. In the other order every one of
    them stays in memory until the end (BEVFormer-Tiny: 7.6 GB instead of 1.6 GB).
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    return copy


def _with_reductions(model: onnx.ModelProto, tensors: Sequence[str], operators: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of ``model`` whose outputs are what the operators make of every tensor."""
    augmented = without_outputs(model)
    for place, tensor in reversed(list(enumerate(tensors))):
        for operator in operators:
            name = _reduced(operator, place)
            augmented.graph.node.append(helper.make_node(operator, [tensor], [name], name=name, keepdims=0))
            augmented.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    return augmented


def _reduced(operator: str, place: int) -> str:
    return f"calibration.{operator}.{place}"
