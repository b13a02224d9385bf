"""Models that put out tensors of their inside too: the three outputs for the temporal loop, the rest kept aside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from numpy.typing import NDArray

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.names import OUTPUT_BEV_EMBED, OUTPUT_NAMES
from bevformer_lib.onnx_file import read_onnx
from bevformer_lib.runtime.base import Runtime, TensorSpec
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.scratch import temporary_folder

_NAMED: Final = re.compile(r"^(backbone\.stage|fpn\.level|encoder\.layer|decoder\.layer)(\d+)$")
_KINDS: Final = ("backbone.stage", "fpn.level", "encoder.layer", OUTPUT_BEV_EMBED, "decoder.layer", *OUTPUT_NAMES[1:])


class IntermediatesRuntime:
    """A runtime with a BEVFormer's outputs alone; what else it gives is kept until the next run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.outputs: Mapping[str, TensorSpec] = MappingProxyType(
            {name: spec for name, spec in runtime.outputs.items() if name in OUTPUT_NAMES}
        )
        self.with_intermediates: Mapping[str, NDArray[Any]] = MappingProxyType({})
        """Tensors of the inside in the last run, by name."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""
        return self._runtime.inputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata."""
        return self._runtime.metadata

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model once and return a BEVFormer's outputs."""
        results = self._runtime.run(feed)
        self.with_intermediates = {name: array for name, array in results.items() if name not in self.outputs}
        return {name: results[name] for name in self.outputs}


def open_onnx_with_intermediates(
    model: Path, *, device: str = "cpu", threads: int | None = None
) -> IntermediatesRuntime:
    """Load an ONNX graph, float or quantised, and keep all the named tensors that it still has aside.

    Raises:
        RuntimeUnavailableError: the file is no graph that ONNX Runtime can run here.
    """
    return IntermediatesRuntime(open_with_intermediates(model, device=device, threads=threads))


def open_with_intermediates(model: Path, *, device: str = "cpu", threads: int | None = None) -> Runtime:
    """Load an ONNX graph, float or quantised, with all the named tensors that it still has among its outputs.

    Raises:
        RuntimeUnavailableError: the file is no graph that ONNX Runtime can run here.
    """
    import onnx

    from bevformer_lib.export.intermediate_outputs import with_intermediate_outputs
    from bevformer_lib.runtime.onnxruntime import OnnxRuntime

    try:
        graph = read_onnx(model)
        inferred = onnx.shape_inference.infer_shapes(graph)
    except OSError as error:
        raise RuntimeUnavailableError(f"{model}: can't be read ({error.strerror or error}); check the path") from error
    except (ValueError, onnx.shape_inference.InferenceError) as error:
        raise RuntimeUnavailableError(f"{model}: {error}") from error
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(inferred.graph.value_info)
    computed = {name for node in graph.graph.node for name in node.output if _NAMED.match(name)}
    known = {
        value.name for value in graph.graph.value_info if all(d.dim_value for d in value.type.tensor_type.shape.dim)
    }
    with_intermediates = with_intermediate_outputs(graph, sorted(computed & known, key=computing_order))
    with temporary_folder() as folder:
        path = folder / model.name
        path.write_bytes(with_intermediates.SerializeToString())
        return with_host_geometry(OnnxRuntime(path, device=device, threads=threads, named=model), source=str(model))


def computing_order(name: str) -> tuple[int, int]:
    """Sort key: named tensors and outputs in the order in which the model computes them."""
    found = _NAMED.match(name)
    return (_KINDS.index(found[1]), int(found[2])) if found else (_KINDS.index(name), 0)
