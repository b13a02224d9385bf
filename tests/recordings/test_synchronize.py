from __future__ import annotations

from bevformer_lib.recordings.synchronize import synchronize


def test_the_nearest_images_within_the_tolerance_make_a_frame() -> None:
    found = synchronize([[0, 100, 200], [8, 95, 104, 207]], tolerance_ns=10)
    assert found.frames == [(0, 0), (1, 2), (2, 3)]
    assert found.late == 0


def test_a_frame_that_lacks_a_camera_is_dropped_and_no_image_serves_twice() -> None:
    found = synchronize([[0, 100, 200], [0, 200], [0, 100, 160]], tolerance_ns=60)
    assert found.frames == [(0, 0, 0), (2, 1, 2)]
    assert found.without == {1: 1}
    assert synchronize([[0, 50], [20]], tolerance_ns=60).frames == [(0, 0)]
    assert synchronize([[0], []], tolerance_ns=60).without == {1: 1}


def test_late_frames_are_left_out_in_the_order_of_the_recording() -> None:
    found = synchronize([[0, 200, 100, 200, 300], [300, 0, 200, 100]], tolerance_ns=5)
    assert found.frames == [(0, 1), (1, 2), (4, 0)]
    assert found.late == 2


def test_frames_are_passed_over_where_an_interval_is_asked_for() -> None:
    stamps = [83 * number for number in range(13)]
    found = synchronize([stamps, stamps], tolerance_ns=50, interval_ns=500)
    assert [first for first, _ in found.frames] == [0, 6, 12]
