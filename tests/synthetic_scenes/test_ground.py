from __future__ import annotations

import numpy as np

from bevformer_lib.synthetic_scenes.ground import MAP_LEVELS, Ground, GroundMap, StreetProfile
from bevformer_lib.synthetic_scenes.path import path_from_curvature

PROFILE = StreetProfile(
    right_edge_m=-4.0,
    left_edge_m=7.5,
    lane_lines_m=(),
    middle_line_m=1.75,
    parking_lines_m=(-1.75,),
    pavement_m=3.0,
)


def _ground(crosswalks_m: tuple[float, ...] = ()) -> Ground:
    arc = np.arange(-60.0, 60.0, 0.25)
    path = path_from_curvature(arc, np.zeros(len(arc)), start_yaw_rad=0.0)
    return Ground(path, PROFILE, crosswalks_m, seed=5)


def _mean_color(ground_map: GroundMap, x_m: tuple[float, float], y_m: tuple[float, float]) -> np.ndarray:
    columns, rows = (
        slice(*(round((value - origin) / ground_map.texel_m) for value in span))
        for span, origin in zip((x_m, y_m), ground_map.origin_m, strict=True)
    )
    return ground_map.bgr[rows, columns].reshape(-1, 3).mean(axis=0)


def test_every_map_reaches_as_far_as_it_is_shown() -> None:
    for level in MAP_LEVELS[:-1]:
        from_its_middle_m = (level.texels - 1) * level.texel_m / 2
        assert from_its_middle_m - level.snap_m / 2 >= level.gone_at_m


def test_the_street_is_painted_where_the_profile_says() -> None:
    # The path begins at the world's origin, with arc length -60.
    fine, middle, _ = _ground().maps_around((0.0, 0.0))
    for ground_map in (fine, middle):
        asphalt = _mean_color(ground_map, (-5.0, 5.0), (-1.0, 1.0))
        yellow = _mean_color(ground_map, (-5.0, 5.0), (1.60, 1.64))
        white = _mean_color(ground_map, (-5.0, 5.0), (-1.77, -1.73))
        grass = _mean_color(ground_map, (-5.0, 5.0), (-9.5, -8.0))
        assert np.ptp(asphalt) < 12
        assert yellow[2] > asphalt[2] + 30
        assert yellow[2] > yellow[0] + 30
        assert white.min() > asphalt.max() + 30
        assert grass[1] > grass[0] + 15


def test_a_zebra_crossing_lies_across_the_street() -> None:
    plain, crossed = (_ground(crosswalks).maps_around((0.0, 0.0))[0] for crosswalks in ((), (-60.0,)))
    there = ((-1.5, 1.5), (-1.0, 1.0))
    assert _mean_color(crossed, *there).mean() > _mean_color(plain, *there).mean() + 30


def test_the_ground_stays_put_when_the_car_moves() -> None:
    ground = _ground()
    here, there = ground.maps_around((0.0, 0.0))[0], ground.maps_around((3.1, 0.4))[0]
    shift = [round((b - a) / here.texel_m) for a, b in zip(here.origin_m, there.origin_m, strict=True)]
    assert shift[0] > 0
    overlap_here = here.bgr[shift[1] :, shift[0] :].astype(int)
    overlap_there = there.bgr[: len(here.bgr) - shift[1], : here.bgr.shape[1] - shift[0]].astype(int)
    assert np.abs(overlap_here - overlap_there).max() <= 1
