"""A scene through two models side by side: the float graph and whatever was compiled from it."""

from __future__ import annotations

import logging

from bevformer_lib.config.inference_config import InferenceConfig
from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.detections.matching import MATCH_DISTANCE_M, agreement_of, compare_with_truth
from bevformer_lib.detections.types import FrameEvaluation, FrameSeconds, SceneEvaluation
from bevformer_lib.errors import ConfigError
from bevformer_lib.fidelity import tensor_fidelity
from bevformer_lib.names import OUTPUT_NAMES
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import HostPreparation, fed_to
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.runtime.recorded import RecordedRuntime
from bevformer_lib.runtime.temporal import StepResult, TemporalSession
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.stream import DecodedFrame, stream_inputs
from bevformer_lib.scenes.types import Scene

_log = logging.getLogger(__name__)


def evaluate_scene(
    scene: Scene,
    *,
    reference: Runtime,
    candidate: Runtime,
    config: InferenceConfig,
    preprocessor: Preprocessor,
    score_threshold: float | None = None,
    candidate_preparation: HostPreparation | None = None,
    on_progress: ProgressCallback = no_progress,
) -> SceneEvaluation:
    """Run both models over a scene, each with its own ``bev_embed`` fed back, and compare them frame by frame.

    The candidate's error therefore includes what it carried over from its own past, as on the road. Images
    are decoded once for both. Two runs differ in nothing but the seconds.

    Args:
        scene: frames in time order, the scene's first frame first.
        reference: the model to be true to.
        candidate: the model to judge.
        config: how boxes are decoded, and the class names.
        preprocessor: turns frames into inputs.
        score_threshold: replaces the config's threshold; ``None`` keeps that one (which may be none).
        candidate_preparation: what the host does to the candidate's tensors before; ``None``: it brings them into the
            types that the candidate takes.
        on_progress: told the scene's name and the frames done.

    Raises:
        ConfigError: the two models' outputs differ in shape.
        RuntimeUnavailableError: a model is no BEVFormer graph, or the frames don't fit it.
        CameraCalibrationError: a frame's cameras exceed a model's camera capacity.
    """
    recorded = isinstance(reference, RecordedRuntime)
    reference, candidate = (with_host_geometry(model, config.host_geometry) for model in (reference, candidate))
    _check_same_outputs(reference, candidate)
    if score_threshold is None:
        score_threshold = config.box_coder.score_threshold
    types_only = HostPreparation(preprocessor.img_norm)
    reference_session = TemporalSession(reference, types_only, stated_capacity=config.camera_capacity)
    candidate_session = TemporalSession(
        candidate, candidate_preparation or types_only, stated_capacity=config.camera_capacity
    )
    frames: list[FrameEvaluation] = []
    for decoded in stream_inputs(scene.frames, fed_to(preprocessor, reference, candidate)):
        first = not frames
        expected = reference_session.step(decoded.inputs, first=first)
        given = candidate_session.step(decoded.inputs, first=first)
        seconds = FrameSeconds(decoded.decode_seconds, None if recorded else expected.seconds, given.seconds)
        frame = _compare(decoded, expected, given, config, score_threshold, seconds)
        _warn_where_not_finite(scene.name, frame)
        frames.append(frame)
        on_progress(scene.name, len(frames), len(scene.frames))
    return SceneEvaluation(
        scene=scene.name,
        class_names=tuple(config.class_names),
        score_threshold=score_threshold,
        match_distance_m=MATCH_DISTANCE_M,
        frames=tuple(frames),
    )


def _check_same_outputs(reference: Runtime, candidate: Runtime) -> None:
    shapes = [{name: spec.shape for name, spec in runtime.outputs.items()} for runtime in (reference, candidate)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"the reference gives {shapes[0]} and the candidate {shapes[1]}: "
            "compare a compiled model with the graph that it was made from"
        )


def _compare(
    decoded: DecodedFrame,
    expected: StepResult,
    given: StepResult,
    config: InferenceConfig,
    score_threshold: float | None,
    seconds: FrameSeconds,
) -> FrameEvaluation:
    reference_boxes, candidate_boxes = (
        decode_detections(step.outputs, config.box_coder, score_threshold=score_threshold) for step in (expected, given)
    )
    annotations = decoded.frame.gt_boxes
    truth = None
    if annotations is not None:
        truth = compare_with_truth(reference_boxes, candidate_boxes, annotations, config.class_names, config.pc_range)
    return FrameEvaluation(
        index=decoded.frame.index,
        fidelity={name: tensor_fidelity(expected.outputs[name], given.outputs[name]) for name in OUTPUT_NAMES},
        agreement=agreement_of(reference_boxes, candidate_boxes),
        truth=truth,
        seconds=seconds,
        reference=reference_boxes,
        candidate=candidate_boxes,
    )


def _warn_where_not_finite(scene: str, frame: FrameEvaluation) -> None:
    for name, fidelity in frame.fidelity.items():
        if fidelity.not_finite:
            _log.warning(
                "%s, frame %d: %s holds %d values that are not finite",
                scene,
                frame.index,
                name,
                fidelity.not_finite,
            )
