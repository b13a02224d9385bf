"""The frame that a diagnosis tries: the one before which the car moves most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bevformer_lib.names import CAN_BUS_POSITION, CAN_BUS_YAW_DEG
from bevformer_lib.pipeline.inputs import SceneSource, read_scene_metas
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import FrameInputs, Scene


@dataclass(frozen=True)
class DiagnosedFrame:
    """A frame and the one before it, as the network is fed.

    Attributes:
        index: number of the frame in its file names.
        previous: the frame before, as a scene's first.
    """

    scene: str
    index: int
    previous: FrameInputs
    inputs: FrameInputs


def diagnosed_frame(scenes: Sequence[SceneSource], requirements: SceneRequirements) -> DiagnosedFrame | None:
    """Return the frame before which the car moves most; ``None`` where no scene has a second frame.

    Raises:
        SceneError: a scene can't be read.
    """
    place = most_moving_frame(read_scene_metas(scenes))
    if place is None:
        return None
    [source] = [scene for scene in scenes if scene.name == place[0]]
    before, frame = source.read(requirements).frames[place[1] - 1 : place[1] + 1]
    preprocessor = Preprocessor(requirements.image_hw, requirements.img_norm)
    return DiagnosedFrame(place[0], frame.index, preprocessor.inputs(before, None), preprocessor.inputs(frame, before))


def most_moving_frame(scenes: Sequence[Scene]) -> tuple[str, int] | None:
    """Return scene and position of the frame before which the car moves most, metres and degrees together."""
    places = [(scene, position) for scene in scenes for position in range(1, len(scene.frames))]
    if not places:
        return None
    scene, position = max(places, key=lambda place: _motion(*place))
    return scene.name, position


def _motion(scene: Scene, position: int) -> float:
    before, after = scene.frames[position - 1 : position + 1]
    delta = can_bus_delta(after.can_bus_absolute, before.can_bus_absolute)
    return math.hypot(*delta[CAN_BUS_POSITION]) + abs(float(delta[CAN_BUS_YAW_DEG]))
