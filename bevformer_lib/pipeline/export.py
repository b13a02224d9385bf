"""The ONNX graph as a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from bevformer_lib.config.host_geometry import GeometryForm
from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from bevformer_lib.config.model_config import ImageDtype, ModelConfig
from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.pipeline.work import Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

GRAPH: Final = "model.onnx"
INFERENCE_CONFIG: Final = "inference_config.json"


@dataclass(frozen=True)
class ExportWork(Work, step="export", pool="gpu", packages=("torch", "onnx", "onnxsim", "onnxruntime")):
    """Turns a checkpoint into a proven graph; puts out the graph, the raw graph and the inference config.

    Attributes:
        checkpoint: its weights.
        target: chip whose operator list the graph must keep to.
        spatial: ``dense`` or ``visible``; ``None``: what is best for the model.
        cameras_per_query: most cameras of a cell; ``None``: what so many cameras around a car need.
        waive: findings of the check for the chip to let pass, ``RULE`` or ``RULE:NODE``.
        geometry: who computes the geometry, the graph or the host; ``None``: the host.
        input_dtype: what the graph takes of the cameras.
    """

    model: ModelConfig
    checkpoint: Artifact
    target: str
    spatial: Literal["dense", "visible"] | None = None
    cameras_per_query: int | None = None
    waive: tuple[str, ...] = ()
    geometry: GeometryForm | None = None
    input_dtype: ImageDtype = "float32"

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Export. See :func:`bevformer_lib.export.onnx_export.export_onnx` for what it raises."""
        from bevformer_lib.export.lint.findings import parse_waivers
        from bevformer_lib.export.lint.rules import RULES
        from bevformer_lib.export.onnx_export import export_onnx

        checkpoint = open_artifact(store, self.checkpoint)
        result = export_onnx(
            self.model,
            checkpoint,
            folder / GRAPH,
            spatial=self.spatial,
            cameras_per_query=self.cameras_per_query,
            geometry=self.geometry,
            input_dtype=self.input_dtype,
            target=self.target,
            waivers=parse_waivers(self.waive, list(RULES)),
            on_progress=on_progress,
        )
        config = inference_config_of(self.model, result.spatial.capacity(self.model), result.host_geometry)
        write_inference_config(config, folder / INFERENCE_CONFIG)
        return {
            "nodes": sum(result.operators.values()),
            "operators": dict(result.operators),
            "parity_tolerance": result.parity.tolerance,
            "parity_worst": {figure.output: result.parity.worst(figure.output) for figure in result.parity.figures},
            "random_weights_seed": result.checkpoint.random_weights_seed,
            "versions": dict(result.provenance.versions),
        }
