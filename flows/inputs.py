"""What a build is made from: everything that a request names, read and known by its content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bevformer_lib.backends.converters import PULSAR2, TAKE_PULSAR2_SETTINGS
from bevformer_lib.calibration.plan import CalibrationPlan, plan_samples
from bevformer_lib.config.image_size import parse_image_size
from bevformer_lib.config.load import load_model_config
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.gates.policy import DEFAULT_POLICY, Policy, read_policy
from bevformer_lib.metrics.lost_camera import cameras_to_drop
from bevformer_lib.pipeline.convert import Pulsar2Inputs
from bevformer_lib.pipeline.inputs import SceneSource, checkpoint_input, file_input, scene_inputs
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.pulsar2.settings import Use
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.step import Artifact
from flows.request import BuildRequest


@dataclass(frozen=True)
class BuildInputs:
    """What a request names, read and known by content."""

    model: ModelConfig
    checkpoint: Artifact
    scenes: tuple[SceneSource, ...]
    requirements: SceneRequirements
    plan: CalibrationPlan
    policy: Policy
    pulsar2: Pulsar2Inputs | None


def read_inputs(
    request: BuildRequest, digests: DigestCache, on_progress: ProgressCallback = no_progress
) -> BuildInputs:
    """Read what a request names.

    Raises:
        BevformerError: the config, the checkpoint or the scenes can't be read, or a waiver names no rule; everything
            that is wrong with the scenes is said at once.
    """
    from bevformer_lib.export.lint.findings import parse_waivers
    from bevformer_lib.export.lint.rules import RULES

    parse_waivers(request.waive, list(RULES))
    model = load_model_config(request.model, image_hw=parse_image_size(request.image_size))
    requirements = SceneRequirements.of_model(model)
    cameras_to_drop(request.drop_camera, requirements.num_cams)
    checkpoint = checkpoint_input(request.checkpoint, digests)
    scenes = scene_inputs(
        request.scenes,
        digests,
        requirements,
        start_scene=request.start_scene,
        end_scene=request.end_scene,
        on_progress=on_progress,
    )
    frames = {scene.name: scene.num_frames for scene in scenes}
    plan = plan_samples(frames, request.num_samples, request.seed)
    policy = read_policy(Path(request.policy) if request.policy else DEFAULT_POLICY, model.class_names)
    return BuildInputs(model, checkpoint, scenes, requirements, plan, policy, _pulsar2(request, digests))


def _pulsar2(request: BuildRequest, digests: DigestCache) -> Pulsar2Inputs | None:
    if request.converter not in TAKE_PULSAR2_SETTINGS:
        return None
    asked = request.pulsar2
    compiled = request.converter == PULSAR2
    return Pulsar2Inputs(
        target=request.target,
        settings=asked.given(None, Use.COMPILER) if compiled else asked.given(None),
        overrides=None if asked.overrides is None else file_input(asked.overrides, digests),
        machine=asked.given(Use.MACHINE) if compiled else {},
    )
