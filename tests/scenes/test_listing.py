from __future__ import annotations

from pathlib import Path

from bevformer_lib.scenes.listing import list_frames


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_one_image_per_camera(tmp_path: Path):
    touch(tmp_path, "meta_000003.json", *(f"cam_0{camera}_000003.png" for camera in range(2)), "notes.txt")
    (frame,), defects = list_frames(tmp_path, None, 2)
    assert defects == []
    assert (frame.index, frame.meta, frame.stacked) == (3, tmp_path / "meta_000003.json", False)
    assert frame.images == {0: tmp_path / "cam_00_000003.png", 1: tmp_path / "cam_01_000003.png"}


def test_the_index_chooses_frames_and_their_order(tmp_path: Path):
    touch(tmp_path, *(f"meta_00000{frame}.json" for frame in range(3)))
    touch(tmp_path, *(f"cam_00_00000{frame}.png" for frame in range(3)))
    frames, defects = list_frames(tmp_path, (2, 0), 1)
    assert [frame.index for frame in frames] == [2, 0]
    assert defects == []


def test_stacked_images_are_numbered_like_the_metas(tmp_path: Path):
    touch(tmp_path, "meta_000004.json", "meta_000009.json", "img_000004.png", "img_000009.png")
    frames, defects = list_frames(tmp_path, (9,), 2)
    assert defects == []
    assert frames[0].stacked
    assert frames[0].images == {0: tmp_path / "img_000009.png"}


def test_numbered_images_are_frame_major(tmp_path: Path):
    touch(tmp_path, "meta_000004.json", "meta_000009.json", *(f"img_{number:06d}.png" for number in range(6)))
    frames, defects = list_frames(tmp_path, None, 3)
    assert defects == []
    assert [path.name for path in frames[1].images.values()] == [
        "img_000003.png",
        "img_000004.png",
        "img_000005.png",
    ]
    assert list(frames[1].images) == [0, 1, 2]


def test_numbered_images_may_follow_the_frame_numbers(tmp_path: Path):
    touch(tmp_path, "meta_000001.json", "meta_000003.json")
    touch(tmp_path, *(f"img_{number:06d}.png" for number in (2, 3, 6, 7)))
    frames, defects = list_frames(tmp_path, None, 2)
    assert defects == []
    assert [path.name for path in frames[1].images.values()] == ["img_000006.png", "img_000007.png"]


def test_numbered_images_with_a_gap_are_refused(tmp_path: Path):
    touch(tmp_path, "meta_000000.json", "meta_000001.json")
    touch(tmp_path, *(f"img_{number:06d}.png" for number in (0, 1, 3, 4)))
    _, defects = list_frames(tmp_path, None, 2)
    assert defects == [
        f"{tmp_path}: the numbers of img_*.png have gaps, so which frame and camera they show can't be told"
    ]


def test_stacked_images_of_other_frames_are_missing_ones(tmp_path: Path):
    touch(tmp_path, "meta_000000.json", "meta_000001.json", "img_000000.png", "img_000002.png")
    _, defects = list_frames(tmp_path, None, 2)
    assert defects == [f"{tmp_path / 'img_000001.png'}: is missing"]


def test_a_count_that_fits_no_spelling(tmp_path: Path):
    touch(tmp_path, "meta_000000.json", "meta_000001.json", *(f"img_{number:06d}.png" for number in range(3)))
    _, defects = list_frames(tmp_path, None, 6)
    assert defects == [f"{tmp_path}: 3 img_*.png for 2 metas; expected 2 (cameras stacked) or 12 (one per camera)"]


def test_everything_missing_is_named(tmp_path: Path):
    touch(tmp_path, "meta_000000.json", "cam_00_000000.png", "cam_00_000001.png", "cam_01_000001.png")
    touch(tmp_path, "cam_02_000001.png")
    _, defects = list_frames(tmp_path, None, 2)
    assert defects == [
        f"{tmp_path / 'cam_01_000000.png'}: is missing",
        f"{tmp_path / 'cam_02_000001.png'}: the configuration has 2 cameras, 0 to 1",
        f"{tmp_path / 'meta_000001.json'}: is missing",
    ]


def test_two_spellings_of_one_frame_are_refused(tmp_path: Path):
    touch(tmp_path, "meta_000000.json", "meta_0.json", "cam_00_000000.png")
    _, defects = list_frames(tmp_path, None, 1)
    assert defects == [f"{tmp_path / 'meta_000000.json'}: repeats meta_0.json under another spelling"]


def test_no_frames_and_no_folder(tmp_path: Path):
    assert list_frames(tmp_path, None, 6) == (
        (),
        [f"{tmp_path}: holds no meta_*.json; a scene needs at least one frame"],
    )
    _, (defect,) = list_frames(tmp_path / "gone", (0,), 6)
    assert defect == f"{tmp_path / 'gone'}: the scene's folder can't be read: No such file or directory"
