from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bevformer_lib.recordings.messages import Kind, calibration, image_hw, image_pixels, pose, stamp_ns, transforms


def raw(**changes: Any) -> SimpleNamespace:
    content = {"height": 2, "width": 3, "step": 12, "encoding": "rgba8", "data": bytes(range(24))}
    return SimpleNamespace(**{**content, **changes})


def test_raw_images_become_bgr() -> None:
    assert image_hw(raw(), Kind.RAW_IMAGE) == (2, 3)
    assert image_pixels(raw(), Kind.RAW_IMAGE)[1, 2].tolist() == [22, 21, 20]
    gray = raw(encoding="mono8", step=12)
    assert image_pixels(gray, Kind.RAW_IMAGE)[0, 1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoding": "bayer_rggb8"}, "images in 'bayer_rggb8'; read are rgb8"),
        ({"height": 1 << 31}, "an image of 2147483648 x 3 pixels"),
        ({"step": 11}, "rows of 11 bytes"),
        ({"data": b"short"}, "an image of 5 bytes, where 2 rows of 12 are told"),
    ],
)
def test_raw_images_that_are_not_whole_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        image_hw(raw(**changes), Kind.RAW_IMAGE)


def test_numbers_that_are_none_are_refused() -> None:
    point = SimpleNamespace(x=0.0, y=0.0, z=0.0)
    stamp = SimpleNamespace(sec=1, nanosec=5)
    header = SimpleNamespace(stamp=stamp, frame_id="/map")
    for w, said in ((0.0, "is no rotation"), (float("nan"), "4 finite numbers")):
        where = SimpleNamespace(position=point, orientation=SimpleNamespace(w=w, x=0.0, y=0.0, z=0.0))
        with pytest.raises(ValueError, match=said):
            pose(SimpleNamespace(header=header, pose=where))
    turned = SimpleNamespace(w=1.0, x=0.0, y=0.0, z=0.0)
    inner = SimpleNamespace(translation=point, rotation=turned)
    [found] = transforms(SimpleNamespace(header=header, child_frame_id="base_link", transform=inner))
    assert (found.stamp_ns, found.parent, found.child) == (1_000_000_005, "map", "base_link")
    with pytest.raises(ValueError, match="expected seconds and nanoseconds"):
        stamp_ns(SimpleNamespace(timestamp=SimpleNamespace(sec="now", nsec=0)))
    info = SimpleNamespace(header=header, height=2, width=3, d=[0.1], k=[0.0] * 9, p=[0.0] * 12)
    assert calibration(info).distorted
    with pytest.raises(ValueError, match="calibrate the camera"):
        calibration(info).intrinsics(rectified=True)
