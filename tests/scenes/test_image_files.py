from __future__ import annotations

import cv2
import numpy as np
import pytest

from bevformer_lib.scenes.image_files import check_image, check_png
from tests.support.png import SIGNATURE, chunk, header, interlaced_png, palette_png

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def test_a_whole_png_gives_its_height_and_width():
    assert check_png(encoded(PICTURE)) == (20, 30)


@pytest.mark.parametrize(
    "content",
    [
        encoded(PICTURE[..., 0]),
        encoded(np.dstack([PICTURE, PICTURE[..., 0]])),
        interlaced_png(PICTURE),
        palette_png(PICTURE[..., 0] % 4, PICTURE[0, :4]),
    ],
    ids=["gray", "alpha", "interlaced", "palette"],
)
def test_what_opencv_turns_into_bgr_passes(content: bytes):
    assert check_png(content) == (20, 30)
    assert cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).shape == (20, 30, 3)


def test_every_truncation_is_found():
    whole = encoded(PICTURE)
    for length in range(len(SIGNATURE), len(whole), 7):
        with pytest.raises(ValueError, match=f"is truncated: it stops after {length} bytes"):
            check_png(whole[:length])


def test_every_flipped_byte_after_the_signature_is_found():
    whole = encoded(PICTURE)
    for position in range(len(SIGNATURE), len(whole), 11):
        broken = bytearray(whole)
        broken[position] ^= 0x10
        with pytest.raises(ValueError, match=r"corrupt|truncated"):
            check_png(bytes(broken))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is neither PNG nor JPEG"),
        (encoded(PICTURE, ".jpg"), "is neither PNG nor JPEG: it is a JPEG image"),
        (encoded(PICTURE, ".bmp"), "is neither PNG nor JPEG: it is a BMP image"),
        (encoded(PICTURE.astype(np.uint16)), "has 16 bits per channel; store it with 8"),
        (SIGNATURE + header(4, 4) + chunk(b"IEND", b""), "holds no image data"),
        (SIGNATURE + chunk(b"IDAT", b"x") + chunk(b"IEND", b""), "does not begin with its header"),
    ],
)
def test_other_content_is_named(content: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        check_png(content)


def test_a_whole_jpeg_gives_its_height_and_width() -> None:
    assert check_image(encoded(PICTURE, ".jpg")) == (20, 30)
    assert check_image(encoded(PICTURE[..., 0], ".jpg")) == (20, 30)
    assert check_image(encoded(PICTURE)) == (20, 30)


def test_every_truncation_of_a_jpeg_is_found() -> None:
    whole = encoded(PICTURE, ".jpg")
    for length in range(3, len(whole) - 1):
        with pytest.raises(ValueError, match=r"truncated|corrupt"):
            check_image(whole[:length])
