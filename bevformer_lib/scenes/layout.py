"""Names of the files in a folder of scenes.

Source: the published scene folders and tools of the model's vendor (AXERA-TECH/bevformer). Numbers have six
digits there; any number of digits is read.
"""

from __future__ import annotations

SCENE_INDEX_NAME = "scene_index.json"
MADE_UP_MARK = "made_up.json"
"""What `make-scenes` leaves beside the scenes that it renders."""
PICTURE_MULTIPLE = 32
"""Padded image sizes are multiples of this: the backbone's coarsest stride."""


def meta_name(frame: int) -> str:
    """Return the name of a frame's meta file."""
    return f"meta_{frame:06d}.json"


def camera_image_name(camera: int, frame: int) -> str:
    """Return the name of the image of one camera."""
    return f"cam_{camera:02d}_{frame:06d}.png"


def plain_image_name(number: int) -> str:
    """Return the name of an image in the spelling without camera numbers."""
    return f"img_{number:06d}.png"


def padded_hw(height: int, width: int) -> tuple[int, int]:
    """Return (height, width) in pixels rounded up to multiples of ``PICTURE_MULTIPLE``."""
    return (
        -(-height // PICTURE_MULTIPLE) * PICTURE_MULTIPLE,
        -(-width // PICTURE_MULTIPLE) * PICTURE_MULTIPLE,
    )
