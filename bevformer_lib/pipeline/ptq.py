"""The float graph made ready for 8 bits as a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.pipeline.linked import linked_folder
from bevformer_lib.pipeline.runtimes import unload_models
from bevformer_lib.pipeline.work import NOT_IN_KEY, Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.ptq.names import PASSES
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

PREPARED_GRAPH: Final = "model_ptq.onnx"


@dataclass(frozen=True)
class PtqWork(Work, step="ptq", pool="gpu", packages=("onnx", "onnxruntime")):
    """Runs passes of post-training quantisation over the float graph.

    Attributes:
        passes: names of ``ptq.names.PASSES``.
    """

    graph: Artifact
    calibration: Mapping[str, Artifact]
    passes: tuple[str, ...]
    device: str = field(metadata=NOT_IN_KEY)

    @property
    def modules(self) -> tuple[str, ...]:
        """Of the passes."""
        return tuple(PASSES[name] for name in self.passes)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Apply the passes. See :func:`bevformer_lib.ptq.passes.apply_passes` for what it raises."""
        from bevformer_lib.ptq.passes import apply_passes

        unload_models()
        with linked_folder(store, self.calibration) as calibration:
            return apply_passes(
                open_artifact(store, self.graph),
                calibration,
                folder / PREPARED_GRAPH,
                passes=self.passes,
                device=self.device,
                on_progress=on_progress,
            )
