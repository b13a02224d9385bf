from __future__ import annotations

import numpy as np

from bevformer_lib.synthetic_scenes.noise import hash_lattice, value_noise


def test_hash_depends_on_coordinates_and_seed_alone() -> None:
    whole = hash_lattice(np.arange(-8, 8), np.arange(-4, 4), seed=3)
    part = hash_lattice(np.arange(-2, 5), np.arange(0, 3), seed=3)
    np.testing.assert_array_equal(whole[4:7, 6:13], part)
    assert not np.array_equal(whole, hash_lattice(np.arange(-8, 8), np.arange(-4, 4), seed=4))


def test_hash_is_evenly_spread() -> None:
    values = hash_lattice(np.arange(256), np.arange(256), seed=0)
    assert values.min() >= 0.0
    assert values.max() < 1.0
    histogram, _ = np.histogram(values, bins=8, range=(0.0, 1.0))
    assert np.abs(histogram / values.size - 1 / 8).max() < 0.01
    assert abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.02


def test_value_noise_stays_put_when_the_window_moves() -> None:
    x, y = np.arange(-10.0, 10.0, 0.25), np.arange(5.0, 9.0, 0.25)
    whole = value_noise(x, y, 1.3, seed=1)
    moved = value_noise(x[7:40], y[3:], 1.3, seed=1)
    np.testing.assert_allclose(whole[3:, 7:40], moved, atol=1e-6)


def test_value_noise_is_smooth() -> None:
    x = np.arange(0.0, 20.0, 0.01)
    noise = value_noise(x, np.array([0.3]), 1.0, seed=2)[0]
    assert np.abs(np.diff(noise)).max() < 0.04
    assert noise.std() > 0.2
