"""The quantised model as a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bevformer_lib.convert.open import open_converter
from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.pipeline.linked import linked_folder
from bevformer_lib.pipeline.runtimes import unload_models
from bevformer_lib.pipeline.software import software
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact, Step

QUANTIZED: Final = "model_int8.onnx"
_PACKAGES: Final = ("onnx", "onnxruntime")
_CODE: Final = ("bevformer_lib.convert", "bevformer_lib.calibration.archive", __name__)


@dataclass(frozen=True)
class ConvertWork:
    """Quantises the graph with the calibration set and nothing else.

    Attributes:
        graph: the float model.
        calibration: the four archives and their manifest, by file name.
        converter: one of ``convert.open.CONVERTER_KINDS``.
        device: where the converter runs the float model; not part of the step.
    """

    graph: Artifact
    calibration: Mapping[str, Artifact]
    converter: str
    device: str

    @property
    def step(self) -> Step:
        """Done again for another graph, calibration set or converter."""
        return Step(
            name="convert",
            version=1,
            inputs={"graph": self.graph, **self.calibration},
            parameters={"converter": self.converter},
            packages=software(packages=_PACKAGES, code=_CODE),
        )

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Convert. See :meth:`bevformer_lib.convert.base.Converter.convert` for what it raises."""
        unload_models()
        with linked_folder(store, self.calibration) as calibration:
            conversion = open_converter(self.converter, device=self.device).convert(
                open_artifact(store, self.graph), calibration, folder / QUANTIZED, on_progress=on_progress
            )
        return {
            "settings": dict(conversion.settings),
            "num_samples": conversion.num_samples,
            "quantized_nodes": dict(conversion.quantized_nodes),
            "float_nodes": dict(conversion.float_nodes),
            "bytes_before": conversion.bytes_before,
            "bytes_after": conversion.bytes_after,
        }
