"""Scenes through the original, our model and the exported graph, each fed its own prev_bev states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import VerifyError
from bevformer_lib.fidelity import relative_difference
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.checkpoint import load_checkpoint
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import stream_inputs
from bevformer_lib.scenes.types import Frame, Scene
from bevformer_lib.verify.intermediate_outputs import TensorSink, intermediate_outputs_of, tensor_order
from bevformer_lib.verify.openmmlab import Original
from bevformer_lib.verify.report import ONNX, PYTORCH, TensorComparison, VerifyReport
from bevformer_lib.verify.sides import GraphSide, Moment, OriginalSide, PyTorchSide


def verify(
    original: Original,
    config: ModelConfig,
    checkpoint: Path,
    scenes: Sequence[Scene],
    *,
    graph: GraphSide | None = None,
    frames_per_scene: int,
    tolerance: float,
    on_progress: ProgressCallback = no_progress,
) -> VerifyReport:
    """Compare our model, and a graph if given, with the original on the first frames of every scene.

    Every model is fed its own ``bev_embed`` as ``prev_bev``, so an error carries over to later frames; the first
    divergence is nevertheless where the error is made, because everything before it agrees.

    Args:
        original: the original with its weights.
        config: the same model in our terms.
        checkpoint: the weights, loaded into our model.
        scenes: frames in time order, each scene's first frame first.
        graph: what :func:`bevformer_lib.verify.sides.open_graph` made of an exported ONNX file, to compare as well.
        frames_per_scene: frames taken from the start of every scene; at least 1.
        tolerance: largest norm of the difference over norm that is no divergence.
        on_progress: told the scene's name and the frames done.

    Returns:
        What was found; a divergence is a finding, not an exception.

    Raises:
        VerifyError: the original's code fails, or no frame was given.
        CheckpointError: the checkpoint does not fit our model.
        CameraCalibrationError: a frame's cameras exceed the graph's camera capacity.
    """
    if frames_per_scene < 1:
        raise VerifyError(f"{frames_per_scene} frames per scene; give 1 or more")
    intermediate_outputs = intermediate_outputs_of(config)
    model = build_model(config)
    load_checkpoint(checkpoint, model)
    reference = OriginalSide(original.model, intermediate_outputs)
    prev_bev_shape = (config.num_bev_cells, 1, config.embed_dims)
    sides: dict[str, PyTorchSide | GraphSide] = {PYTORCH: PyTorchSide(model, intermediate_outputs, prev_bev_shape)}
    if graph is not None:
        sides[ONNX] = graph
    order = {name: position for position, name in enumerate(tensor_order(config))}
    preprocessor = Preprocessor(config.image_hw, config.img_norm)
    comparisons: list[TensorComparison] = []
    frames = 0
    for scene in scenes:
        chosen = scene.frames[:frames_per_scene]
        previous: Frame | None = None
        for done, decoded in enumerate(stream_inputs(chosen, preprocessor), start=1):
            moment = Moment.of_frame(decoded.frame, previous, decoded.inputs, scene.name)
            expected: dict[str, NDArray[Any]] = {}
            reference.run(moment, expected.__setitem__)
            for candidate, side in sides.items():
                found: list[TensorComparison] = []
                side.run(moment, _comparing(scene.name, decoded.frame.index, candidate, expected, found))
                comparisons += sorted(found, key=lambda item: order[item.tensor])
            previous = decoded.frame
            frames += 1
            on_progress(scene.name, done, len(chosen))
    if not frames:
        raise VerifyError("there is no frame to compare; check the scenes' folder and the chosen range")
    return VerifyReport(tolerance, frames, original.versions, tuple(comparisons))


def _comparing(
    scene: str,
    frame: int,
    candidate: str,
    expected: Mapping[str, NDArray[Any]],
    found: list[TensorComparison],
) -> TensorSink:
    """Return a sink that compares a tensor as soon as it is there, so that only the original's are all in memory."""

    def compare(name: str, given: NDArray[Any]) -> None:
        if name in expected:
            reference = expected[name]
            difference = relative_difference(given, reference)
            found.append(TensorComparison(scene, frame, candidate, name, reference.shape, difference))

    return compare
