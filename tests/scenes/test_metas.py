from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.errors import SceneError
from bevformer_lib.scenes.metas import read_metas
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes


@pytest.mark.parametrize("scene_index", [True, False])
def test_the_same_frames_without_images(tmp_path: Path, scene_index: bool):
    write_scenes(tmp_path, frame_numbers=(3, 10), scene_index=scene_index)
    whole = read_scenes(tmp_path, SceneRequirements.of_model(micro_config()))
    for image in tmp_path.rglob("*.png"):
        image.unlink()
    scenes = read_metas(tmp_path)
    assert [scene.name for scene in scenes] == ["scene-0000", "scene-0001"]
    for expected, scene in zip(whole, scenes, strict=True):
        assert [frame.index for frame in scene.frames] == [3, 10]
        for one, other in zip(expected.frames, scene.frames, strict=True):
            assert (one.gt_boxes, one.timestamp_us, one.meta_path) == (
                other.gt_boxes,
                other.timestamp_us,
                other.meta_path,
            )
            np.testing.assert_array_equal(one.lidar_to_image, other.lidar_to_image)
            np.testing.assert_array_equal(one.can_bus_absolute, other.can_bus_absolute)
            assert other.images == ()
    assert [scene.name for scene in read_metas(tmp_path, ["scene-0001"])] == ["scene-0001"]


def test_defects_are_named(tmp_path: Path):
    write_scenes(tmp_path, num_scenes=1)
    (tmp_path / "scene-0000" / "meta_000001.json").write_text('{"lidar2img": 3, "can_bus": []}')
    (tmp_path / "scene-0000" / "meta_000002.json").unlink()
    with pytest.raises(SceneError, match=r"meta_000001.json: lidar2img has shape \(\); expected \(1, 4, 4\)") as caught:
        read_metas(tmp_path)
    assert len(caught.value.defects) == 3
    assert "meta_000002.json: can't be read" in str(caught.value)
    with pytest.raises(SceneError, match="has no scene scene-0007; it has scene-0000"):
        read_metas(tmp_path, ["scene-0007"])
