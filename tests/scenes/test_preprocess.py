from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.errors import SceneError
from bevformer_lib.scenes.preprocess import Preprocessor, normalization_table
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.scenes.types import Frame, ImageRef
from tests.support.data import requires_shared_data, shared_data
from tests.support.micro import micro_config
from tests.support.png import interlaced_png, palette_png
from tests.support.scenes import Spelling, write_scenes

HW = (96, 160)
TINY = micro_config().img_norm
BASE = ImageNormConfig(mean=(103.530, 116.280, 123.675), std=(1.0, 1.0, 1.0), to_rgb=False)


def mmcv_imnormalize(image: NDArray[np.uint8], img_norm: ImageNormConfig) -> NDArray[np.float32]:
    """The OpenCV calls of mmcv 1.x's `imnormalize_`, with mean and std in float32 as mmdet passes them."""
    img = image.astype(np.float32)
    mean = np.float64(np.array(img_norm.mean, dtype=np.float32).reshape(1, -1))
    reciprocal_std = 1 / np.float64(np.array(img_norm.std, dtype=np.float32).reshape(1, -1))
    if img_norm.to_rgb:
        cv2.cvtColor(img, cv2.COLOR_BGR2RGB, img)
    cv2.subtract(img, mean, img)
    cv2.multiply(img, reciprocal_std, img)
    return img.transpose(2, 0, 1)


def frames_of(root: Path, img_norm: ImageNormConfig = TINY) -> tuple[Frame, ...]:
    return read_scenes(root, SceneRequirements(6, HW, img_norm))[0].frames


@pytest.mark.parametrize("img_norm", [TINY, BASE], ids=["tiny", "base"])
def test_images_are_normalised_as_mmcv_does_to_the_last_bit(tmp_path: Path, img_norm: ImageNormConfig):
    (frame,) = frames_of(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, img_norm=img_norm), img_norm)
    img = Preprocessor(HW, img_norm).inputs(frame, None).img
    assert (img.shape, img.dtype, img.flags.c_contiguous) == ((1, 6, 3, *HW), np.float32, True)
    for camera, image in enumerate(frame.images):
        np.testing.assert_array_equal(img[0, camera], mmcv_imnormalize(cv2.imread(str(image.path)), img_norm))


def test_the_table_matches_mmcv_for_every_value():
    values = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_array_equal(normalization_table(TINY), mmcv_imnormalize(values, TINY)[:, 0])


def test_unpadded_images_are_padded_with_zeros_after_normalisation_never_stretched(tmp_path: Path):
    (frame,) = frames_of(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, image_hw=(90, 150)))
    img = Preprocessor(HW, TINY).inputs(frame, None).img
    assert img.shape == (1, 6, 3, *HW)
    assert (img[..., 90:, :] == 0.0).all()
    assert (img[..., 150:] == 0.0).all()
    for camera, image in enumerate(frame.images):
        expected = mmcv_imnormalize(cv2.imread(str(image.path)), TINY)
        np.testing.assert_array_equal(img[0, camera, :, :90, :150], expected)


@pytest.mark.parametrize("spelling", ["stacked", "numbered"])
def test_the_spelling_of_the_images_makes_no_difference(tmp_path: Path, spelling: Spelling):
    preprocessor = Preprocessor(HW, TINY)
    one, other = (
        preprocessor.inputs(
            frames_of(write_scenes(tmp_path / name, num_scenes=1, image_hw=(90, 160), spelling=name))[2], None
        )
        for name in ("cameras", spelling)
    )
    np.testing.assert_array_equal(one.img, other.img)


def test_motion_and_projection(tmp_path: Path):
    frames = frames_of(write_scenes(tmp_path, num_scenes=1))
    preprocessor = Preprocessor(HW, TINY)
    first, second = preprocessor.inputs(frames[0], None), preprocessor.inputs(frames[1], frames[0])
    assert (second.can_bus.shape, second.can_bus.dtype) == ((1, 18), np.float32)
    assert (second.lidar2img.shape, second.lidar2img.dtype) == ((1, 6, 4, 4), np.float32)
    assert not first.can_bus[0, [0, 1, 2, 17]].any()
    assert second.can_bus[0, 17] == pytest.approx(3.0), "the yaw crosses 360 -> 0 here"
    assert np.hypot(*second.can_bus[0, :2]) == pytest.approx(4.0)
    np.testing.assert_array_equal(second.lidar2img[0], frames[1].lidar_to_image.astype(np.float32))


def test_images_for_drawing_are_padded_with_the_mean_colour(tmp_path: Path):
    (frame,) = frames_of(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, image_hw=(90, 160)))
    images = Preprocessor(HW, TINY).images(frame)
    assert len(images) == 6
    for image, reference in zip(images, frame.images, strict=True):
        assert (image.shape, image.dtype) == ((*HW, 3), np.uint8)
        np.testing.assert_array_equal(image[:90], cv2.imread(str(reference.path)))
        assert (image[90:] == (104, 116, 124)).all(), "TINY's mean is RGB, the image BGR"


GRAY = np.random.default_rng(0).integers(0, 256, HW, dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (*HW, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "bgr"),
    [
        (cv2.imencode(".png", GRAY)[1].tobytes(), np.repeat(GRAY[..., None], 3, 2)),
        (cv2.imencode(".png", np.dstack([COLOR, GRAY]))[1].tobytes(), COLOR),
        (interlaced_png(COLOR), COLOR[..., ::-1]),
        (palette_png(GRAY % 4, COLOR[0, :4]), COLOR[0][GRAY % 4][..., ::-1]),
    ],
    ids=["gray", "alpha", "interlaced", "palette"],
)
def test_other_kinds_of_png_become_bgr(tmp_path: Path, content: bytes, bgr: NDArray[np.uint8]):
    root = write_scenes(tmp_path, num_scenes=1, frames_per_scene=1)
    (root / "scene-0000" / "cam_00_000000.png").write_bytes(content)
    (frame,) = frames_of(root)
    np.testing.assert_array_equal(Preprocessor(HW, TINY).images(frame)[0], bgr)


def test_a_image_that_went_bad_since_it_was_checked_is_named(tmp_path: Path):
    (frame,) = frames_of(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1))
    preprocessor = Preprocessor(HW, TINY)
    path = frame.images[4].path
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SceneError, match=r"cam_04_000000\.png: can't be decoded"):
        preprocessor.inputs(frame, None)
    cv2.imwrite(str(path), np.zeros((128, 160, 3), np.uint8))
    with pytest.raises(SceneError, match=r"cam_04_000000\.png: decodes to 128 x 160 pixels"):
        preprocessor.images(frame)
    path.unlink()
    with pytest.raises(SceneError, match=r"cam_04_000000\.png: can't be read: .*No such file"):
        preprocessor.inputs(frame, None)


def test_a_stacked_file_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (frame,) = frames_of(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1, spelling="stacked"))
    decoded: list[int] = []
    imdecode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda *args: decoded.append(1) or imdecode(*args))
    Preprocessor(HW, TINY).inputs(frame, None)
    assert len(decoded) == 1


def test_cameras_may_be_reordered(tmp_path: Path):
    (frame,) = frames_of(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1))
    reversed_frame = replace(frame, images=tuple(ImageRef(image.path) for image in frame.images[::-1]))
    preprocessor = Preprocessor(HW, TINY)
    np.testing.assert_array_equal(
        preprocessor.inputs(reversed_frame, None).img, preprocessor.inputs(frame, None).img[:, ::-1]
    )


@requires_shared_data
def test_real_frames_equal_the_plain_way():
    root = shared_data() / "nuscenes_scene_0103" / "extracted_data"
    (scene,) = read_scenes(root, SceneRequirements(6, (480, 800), TINY))
    img = Preprocessor((480, 800), TINY).inputs(scene.frames[0], None).img
    plain = np.stack([mmcv_imnormalize(cv2.imread(str(image.path)), TINY) for image in scene.frames[0].images])
    np.testing.assert_array_equal(img[0], plain)
    assert np.abs(img[..., 450:, :]).max() < 0.01, "the stored padding is the mean colour"


def test_a_black_camera_is_black_before_normalisation_and_padded_as_others_are(tmp_path: Path):
    (frame,) = frames_of(write_scenes(tmp_path, num_scenes=1, frames_per_scene=1))
    complete = Preprocessor((HW[0] + 32, HW[1]), TINY)
    without = complete.without("CAM_FRONT_LEFT")
    given, expected = without.inputs(frame, None).img, complete.inputs(frame, None).img
    np.testing.assert_array_equal(np.delete(given, 2, axis=1), np.delete(expected, 2, axis=1))
    black = mmcv_imnormalize(np.zeros((*HW, 3), np.uint8), TINY)
    np.testing.assert_array_equal(given[0, 2, :, : HW[0]], black)
    assert not given[0, 2, :, HW[0] :].any()
    assert not without.images(frame)[2][: HW[0]].any()
    assert complete.without(None) == complete
