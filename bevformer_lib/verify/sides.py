"""The models that are compared, each a function from a frame to named tensors, fed its own prev_bev states."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bevformer_lib.backends.runtimes import ONNXRUNTIME, open_runtime
from bevformer_lib.config.model_config import ImageNormConfig, ModelConfig
from bevformer_lib.errors import VerifyError
from bevformer_lib.export.intermediate_outputs import intermediate_names, with_intermediate_outputs
from bevformer_lib.export.intermediates_runtime import IntermediatesRuntime
from bevformer_lib.names import (
    OUTPUT_BEV_EMBED,
    OUTPUT_CLASSES,
    OUTPUT_COORDS,
    OUTPUT_NAMES,
)
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.contract import check_graph
from bevformer_lib.runtime.host import HostPreparation
from bevformer_lib.runtime.temporal import TemporalSession
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.types import Frame, FrameInputs
from bevformer_lib.scratch import temporary_folder
from bevformer_lib.verify.intermediate_outputs import IntermediateOutput, TensorSink, with_intermediates

_log = logging.getLogger(__name__)

ORIGINAL_OUTPUTS: Mapping[str, str] = {
    OUTPUT_BEV_EMBED: "bev_embed",
    OUTPUT_CLASSES: "all_cls_scores",
    OUTPUT_COORDS: "all_bbox_preds",
}
"""Our name of an output -> the original head's."""


@dataclass(frozen=True)
class Moment:
    """A frame as the models are fed it.

    Attributes:
        inputs: tensors of our model and of the graph.
        can_bus_delta: (18,) float64, delta form; the original takes it from the frame's meta data.
        lidar_to_image: (cameras, 4, 4) float64, likewise.
        scene_token: tells the original which scene this is.
        first: whether the frame is its scene's first: there is no state yet.
    """

    inputs: FrameInputs
    can_bus_delta: NDArray[np.float64]
    lidar_to_image: NDArray[np.float64]
    scene_token: str
    first: bool

    @classmethod
    def of_frame(cls, frame: Frame, previous: Frame | None, inputs: FrameInputs, scene: str) -> Moment:
        """Return the moment of a frame; ``previous`` is the frame before it in the scene, if there is one."""
        before = None if previous is None else previous.can_bus_absolute
        return cls(inputs, can_bus_delta(frame.can_bus_absolute, before), frame.lidar_to_image, scene, previous is None)


class OriginalSide:
    """The original detector; gets no prev_bev (``None``) on a scene's first frame, as its own test loop has it."""

    def __init__(self, model: nn.Module, intermediate_outputs: Sequence[IntermediateOutput]) -> None:
        self._model: Any = model
        self._intermediate_outputs = intermediate_outputs
        self._prev_bev: Tensor | None = None

    def run(self, moment: Moment, sink: TensorSink) -> None:
        """Run one frame and hand every intermediate output and output to ``sink``.

        Raises:
            VerifyError: the original's code fails, or it puts out something else than a BEVFormer head does.
        """
        prev_bev = None if moment.first else self._prev_bev
        # Its packages print while they run; stdout is for results.
        with (
            contextlib.redirect_stdout(sys.stderr),
            torch.no_grad(),
            with_intermediates(self._model, self._intermediate_outputs, sink, original=True),
        ):
            try:
                outputs = self._forward(moment, prev_bev)
            except VerifyError:
                raise
            except Exception as error:
                raise VerifyError(
                    f"the original model fails on scene {moment.scene_token}: {type(error).__name__}: {error}"
                ) from error
        for name, key in ORIGINAL_OUTPUTS.items():
            if not isinstance(outputs, Mapping) or not isinstance(outputs.get(key), Tensor):
                raise VerifyError(f"the original head puts out no tensor '{key}'; is it another version of BEVFormer?")
            sink(name, outputs[key].cpu().numpy().copy())
        self._prev_bev = outputs[ORIGINAL_OUTPUTS[OUTPUT_BEV_EMBED]]

    def _forward(self, moment: Moment, prev_bev: Tensor | None) -> Any:
        """Do what the original's ``simple_test`` does, up to the decoding of boxes."""
        cameras, _, height, width = moment.inputs.img.shape[1:]
        meta = {
            "can_bus": moment.can_bus_delta.copy(),
            "lidar2img": list(moment.lidar_to_image),
            "img_shape": [(height, width, 3)] * cameras,
            "scene_token": moment.scene_token,
        }
        # A copy: the original squeezes its argument in place.
        img = torch.from_numpy(moment.inputs.img.copy())
        features = self._model.extract_feat(img=img, img_metas=[meta])
        return self._model.pts_bbox_head(features, [meta], prev_bev=prev_bev)


class PyTorchSide:
    """Our model; gets zeros on a scene's first frame, as the graph does."""

    def __init__(
        self, model: nn.Module, intermediate_outputs: Sequence[IntermediateOutput], prev_bev_shape: tuple[int, int, int]
    ) -> None:
        self._model, self._intermediate_outputs = model, intermediate_outputs
        self._zeros = torch.zeros(prev_bev_shape)
        self._prev_bev = self._zeros

    def run(self, moment: Moment, sink: TensorSink) -> None:
        """Run one frame and hand every intermediate output and output to ``sink``."""
        inputs = moment.inputs
        prev_bev = self._zeros if moment.first else self._prev_bev
        with torch.inference_mode(), with_intermediates(self._model, self._intermediate_outputs, sink, original=False):
            outputs = self._model(
                *(torch.from_numpy(array) for array in (inputs.img, inputs.can_bus, inputs.lidar2img)), prev_bev
            )
        for name, output in zip(OUTPUT_NAMES, outputs, strict=True):
            sink(name, output.numpy())
        self._prev_bev = outputs[OUTPUT_NAMES.index(OUTPUT_BEV_EMBED)]


def open_graph(path: Path, config: ModelConfig) -> GraphSide:
    """Load an exported graph so that it puts out those named tensors of the model that it has.

    Raises:
        RuntimeUnavailableError: ONNX Runtime is missing, or can't load the file.
        ConfigError: the graph is not of this model.
        CameraCalibrationError: the graph's camera capacity is damaged, or another model's.
    """
    # Loaded as it is first: a file that can't be run is refused with the runtime's own words.
    runtime = open_runtime(ONNXRUNTIME, path)
    check_graph(runtime, config, path)
    model = onnx.load(str(path))
    computed = {name for node in model.graph.node for name in node.output}
    names = [name for name in intermediate_names(config) if name in computed]
    if not names:
        _log.warning(
            "%s names no inner tensors; only its outputs are compared. Export it again with this version", path
        )
        return GraphSide(runtime, config.img_norm)
    del runtime
    with temporary_folder() as folder:
        intermediates_path = folder / path.name
        onnx.save(with_intermediate_outputs(model, names), str(intermediates_path))
        return GraphSide(open_runtime(ONNXRUNTIME, intermediates_path), config.img_norm)


class GraphSide:
    """The exported graph in a runtime."""

    def __init__(self, runtime: Runtime, img_norm: ImageNormConfig) -> None:
        self._runtime = IntermediatesRuntime(runtime)
        self._session = TemporalSession(self._runtime, HostPreparation(img_norm))

    def run(self, moment: Moment, sink: TensorSink) -> None:
        """Run one frame and hand every output, the named tensors among them, to ``sink``.

        Raises:
            CameraCalibrationError: the frame's cameras exceed the graph's camera capacity.
        """
        step = self._session.step(moment.inputs, first=moment.first)
        for name, output in {**self._runtime.with_intermediates, **step.outputs}.items():
            sink(name, output)
