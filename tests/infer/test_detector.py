from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.detections.infer_records import box_records
from bevformer_lib.errors import ConfigError, FrameError, LateFrameError, RuntimeUnavailableError
from bevformer_lib.infer.detector import LONGEST_GAP_S, Detector
from bevformer_lib.infer.infer import infer_scenes
from bevformer_lib.infer.scene_stages import InferModel, InferSettings
from bevformer_lib.names import CAMERA_ORDER, CAN_BUS_YAW_DEG
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Frame
from tests.infer.models import CONFIG, fake_runtime, pixel_runtime
from tests.support.fake_runtime import FakeRuntime
from tests.support.micro import micro_config
from tests.support.scenes import drive_can_bus, surround_lidar_to_image, write_scenes

HW = (96, 160)
LIDAR2IMG = surround_lidar_to_image(HW)
IMAGES = list(np.random.default_rng(3).integers(0, 256, (6, *HW, 3), dtype=np.uint8))
CAN_BUS = drive_can_bus(8)
STEP_US = 500_000


def pose(number: int) -> NDArray[np.float64]:
    """Ego to global where :data:`CAN_BUS` has the car."""
    yaw_rad = CAN_BUS[number, 16]
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(yaw_rad), -math.sin(yaw_rad)], [math.sin(yaw_rad), math.cos(yaw_rad)]]
    matrix[:3, 3] = CAN_BUS[number, :3]
    return matrix


class Car:
    """A detector over a runtime that remembers, and its frames by number."""

    def __init__(self, runtime: FakeRuntime | None = None) -> None:
        self.runtime = runtime or fake_runtime()
        self.detector = Detector(self.runtime, CONFIG)

    def see(self, number: int, **more: Any) -> None:
        given: dict[str, Any] = {"can_bus": CAN_BUS[number], "timestamp_us": number * STEP_US, "lidar2img": LIDAR2IMG}
        self.detector(IMAGES, **{**given, **more})

    @property
    def feed(self) -> dict[str, NDArray[Any]]:
        """What the model was fed last."""
        return self.runtime.feeds[-1]

    @property
    def history(self) -> float:
        """Frames since the sequence began, as the runtime counts them."""
        return float(self.feed["prev_bev"].flat[0])


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Frame, ...]:
    root = write_scenes(tmp_path_factory.mktemp("scenes"), num_scenes=1, frames_per_scene=3)
    return read_scenes(root, SceneRequirements.of_model(micro_config()))[0].frames


def test_boxes_are_those_that_infer_writes(frames: tuple[Frame, ...], tmp_path: Path) -> None:
    scenes = read_scenes(frames[0].meta_path.parents[1], SceneRequirements.of_model(micro_config()))
    settings = InferSettings(score_threshold=0.3, fps=2.0, images=False, video=False)
    infer_scenes(scenes, InferModel(Detector(fake_runtime(), CONFIG), "m", {}), settings, tmp_path)
    written = json.loads((tmp_path / "scene-0000" / "detections.json").read_text())["frames"]
    detector = Detector(fake_runtime(), CONFIG, score_threshold=0.3)
    for frame, expected in zip(frames, written, strict=True):
        images = [cv2.imread(str(image.path)) for image in frame.images]
        boxes = detector(images, lidar2img=frame.lidar_to_image, can_bus=frame.can_bus_absolute)
        assert box_records(boxes, CONFIG.class_names) == expected["boxes"]
        assert len(boxes.scores) == 2


def test_the_model_is_fed_what_a_scene_feeds_it(frames: tuple[Frame, ...]) -> None:
    runtime = fake_runtime()
    detector, preprocessor = Detector(runtime, CONFIG), Preprocessor(HW, CONFIG.img_norm)
    for frame, before in zip(frames, (None, *frames), strict=False):
        detector(preprocessor.load(frame), lidar2img=frame.lidar_to_image, can_bus=frame.can_bus_absolute)
        expected = preprocessor.inputs(frame, before)
        for name in ("img", "can_bus", "lidar2img"):
            np.testing.assert_array_equal(runtime.feeds[-1][name], getattr(expected, name))


def test_poses_are_enough() -> None:
    car, by_pose = Car(), Car()
    for number in range(3):
        car.see(number)
        by_pose.see(number, can_bus=None, ego_pose=pose(number))
        expected = car.feed["can_bus"].copy()
        expected[:, 7:16] = 0.0  # what only a CAN bus knows
        expected[:, 3:7] = abs(expected[:, 3:7])  # a matrix has lost the quaternion's sign
        np.testing.assert_allclose(by_pose.feed["can_bus"], expected, atol=1e-6)


def test_a_buffer_that_its_caller_fills_again_is_no_standstill() -> None:
    car, buffer = Car(), CAN_BUS[0].copy()
    car.see(0, can_bus=buffer)
    buffer[:] = CAN_BUS[1]
    car.see(1, can_bus=buffer)
    np.testing.assert_array_equal(car.feed["can_bus"][0], can_bus_delta(CAN_BUS[1], CAN_BUS[0]).astype(np.float32))


def test_a_call_after_a_part_begins_a_new_sequence() -> None:
    car = Car()
    car.see(0)
    inputs = car.detector.prepare(
        IMAGES, lidar2img=np.asarray(LIDAR2IMG, float), can_bus_delta=can_bus_delta(CAN_BUS[1], CAN_BUS[0])
    )
    car.detector.run(inputs, first=False)
    car.see(2)
    assert car.detector.was_first
    assert not car.feed["can_bus"][0, :3].any()


@pytest.mark.parametrize("wrong", [{"score_threshold": 30.0}, {"longest_gap_s": 0.0}, {"longest_gap_s": math.nan}])
def test_thresholds_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="give a"):
        Detector(fake_runtime(), CONFIG, **wrong)  # type: ignore[arg-type]


def test_a_frame_goes_on_from_the_last_one_that_was_run() -> None:
    car = Car()
    for number in (0, 1, 4):
        car.see(number, timestamp_us=None)
    np.testing.assert_array_equal(car.feed["can_bus"][0], can_bus_delta(CAN_BUS[4], CAN_BUS[1]).astype(np.float32))
    assert (car.history, car.detector.was_first) == (2.0, False)


@pytest.mark.parametrize("begin", ["first", "reset"])
def test_a_reset_forgets_history_and_motion(begin: str) -> None:
    car = Car()
    car.see(5)
    car.see(6)
    if begin == "reset":
        car.detector.reset()
    car.see(2, first=begin == "first")
    assert (car.history, car.detector.was_first) == (0.0, True)
    assert not car.feed["can_bus"][0, :3].any()
    assert car.feed["can_bus"][0, CAN_BUS_YAW_DEG] == 0.0
    car.see(3)
    assert (car.history, car.detector.was_first) == (1.0, False)


@pytest.mark.parametrize("timestamp_us", [3 * STEP_US, STEP_US, -1])
def test_a_late_frame_is_refused_and_changes_nothing(timestamp_us: int) -> None:
    car, undisturbed = Car(), Car()
    for number in (2, 3):
        car.see(number)
        undisturbed.see(number)
    with pytest.raises(LateFrameError, match="is not newer than the last one, of 1500000 us"):
        car.see(1, timestamp_us=timestamp_us)
    car.see(4)
    undisturbed.see(4)
    assert len(car.runtime.feeds) == len(undisturbed.runtime.feeds) == 3
    for name, array in car.feed.items():
        np.testing.assert_array_equal(array, undisturbed.feed[name])


def test_a_long_gap_begins_a_new_sequence() -> None:
    car = Car()
    car.see(0, timestamp_us=0)
    car.see(1, timestamp_us=round(LONGEST_GAP_S * 1e6))
    assert not car.detector.was_first
    car.see(2, timestamp_us=round(2 * LONGEST_GAP_S * 1e6) + 1)
    assert (car.history, car.detector.was_first) == (0.0, True)
    assert not car.feed["can_bus"][0, :3].any()


def test_a_frame_that_gave_no_numbers_ends_its_sequence() -> None:
    sound = fake_runtime()
    damaged = [False, True, False]

    def run(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = sound.run(feed)
        if damaged[len(sound.feeds) - 1]:
            outputs["bev_embed"] = outputs["bev_embed"] * np.float32(np.nan)
        return outputs

    shapes = ({name: spec.shape for name, spec in specs.items()} for specs in (sound.inputs, sound.outputs))
    car = Car(FakeRuntime(*shapes, run))
    car.see(0)
    with pytest.raises(RuntimeUnavailableError, match=r"the frame: .* bev_embed are NaN or infinite"):
        car.see(1)
    car.see(2)
    assert (car.history, car.detector.was_first) == (0.0, True)


def test_a_model_that_fails_once_goes_on_from_the_last_frame() -> None:
    sound = fake_runtime()
    fails = [False, True, False]

    def run(feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if fails.pop(0):
            raise RuntimeUnavailableError("the NPU is busy")
        return sound.run(feed)

    shapes = ({name: spec.shape for name, spec in specs.items()} for specs in (sound.inputs, sound.outputs))
    car = Car(FakeRuntime(*shapes, run))
    car.see(0)
    with pytest.raises(RuntimeUnavailableError, match="busy"):
        car.see(1)
    car.see(2)
    np.testing.assert_array_equal(car.feed["can_bus"][0], can_bus_delta(CAN_BUS[2], CAN_BUS[0]).astype(np.float32))
    assert car.history == 1.0


def test_images_by_name_and_a_camera_that_gave_none() -> None:
    car = Car()
    named: dict[str, Any] = dict(zip(CAMERA_ORDER, IMAGES, strict=True))
    car.detector(dict(reversed(named.items())), lidar2img=LIDAR2IMG, can_bus=CAN_BUS[0])
    whole = car.feed["img"].copy()
    named["CAM_BACK"] = None
    car.detector(named, lidar2img=LIDAR2IMG, can_bus=CAN_BUS[1])
    black = car.detector.preprocessor.tensor([np.zeros_like(IMAGES[0])])[0, 0]
    np.testing.assert_array_equal(whole, car.detector.preprocessor.tensor(IMAGES))
    np.testing.assert_array_equal(car.feed["img"][0, 3], black)
    np.testing.assert_array_equal(car.feed["img"][0, [0, 1, 2, 4, 5]], whole[0, [0, 1, 2, 4, 5]])


def test_a_model_of_pixels_is_fed_the_cameras_own() -> None:
    car = Car(pixel_runtime())
    small = [image[:90] for image in IMAGES]
    car.detector(small, lidar2img=LIDAR2IMG, can_bus=CAN_BUS[0])
    img = car.feed["img"]
    assert img.dtype == np.uint8
    assert img.flags.c_contiguous
    np.testing.assert_array_equal(img[0, :, :, :90].transpose(0, 2, 3, 1)[..., ::-1], np.stack(small))
    assert (img[0, :, :, 90:] == np.rint(CONFIG.img_norm.mean)[:, None, None]).all()


def test_views_of_images_are_taken_too() -> None:
    car = Car()
    rgb = [np.ascontiguousarray(image[..., ::-1]) for image in IMAGES]
    car.detector([image[..., ::-1] for image in rgb], lidar2img=LIDAR2IMG, can_bus=CAN_BUS[0])
    np.testing.assert_array_equal(car.feed["img"], car.detector.preprocessor.tensor(IMAGES))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": IMAGES[:5]}, "5 are given, the model has 6 cameras: CAM_FRONT, CAM_FRONT_RIGHT"),
        ({"images": dict.fromkeys(CAMERA_ORDER[1:], IMAGES[0])}, "CAM_FRONT missing, none not known"),
        ({"images": [None] * 6}, "no camera gave one"),
        ({"images": [*IMAGES[:5], IMAGES[5].astype(np.float32)]}, r"CAM_BACK_RIGHT: is float32 of shape \(96, 160, 3"),
        ({"images": [*IMAGES[:5], "front.png"]}, r"CAM_BACK_RIGHT: is str"),
        ({"images": [*IMAGES[:5], IMAGES[5][:64]]}, r"CAM_BACK_RIGHT: is 64 x 160 pixels .* takes 96 x 160"),
        ({"can_bus": None}, "give can_bus .* or ego_pose"),
        ({"ego_pose": np.eye(4)}, "not both"),
        ({"can_bus": CAN_BUS[0, :17]}, r"can_bus: has shape \(17,\); expected \(18,\)"),
        ({"can_bus": CAN_BUS[0] * np.nan}, "can_bus: holds NaN"),
        ({"can_bus": None, "ego_pose": 2 * np.eye(4)}, "ego_pose is not a rotation and a translation"),
        ({"can_bus": None, "ego_pose": [[1, 2], [3]]}, "ego_pose: is no array"),
        ({"lidar2img": LIDAR2IMG[0]}, r"lidar2img: has shape \(4, 4\); expected \(6, 4, 4\)"),
    ],
)
def test_a_malformed_frame_is_refused_and_changes_nothing(change: dict[str, Any], said: str) -> None:
    car = Car()
    car.see(0)
    arguments = {"images": IMAGES, "lidar2img": LIDAR2IMG, "can_bus": CAN_BUS[1], **change}
    with pytest.raises(FrameError, match=said):
        car.detector(arguments.pop("images"), **arguments)
    car.see(1)
    assert (len(car.runtime.feeds), car.history) == (2, 1.0)
