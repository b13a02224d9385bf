"""Noise that depends on world coordinates and a seed alone, so that it stays put while the camera moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MIX_1 = np.uint32(0x7FEB352D)
_MIX_2 = np.uint32(0x846CA68B)
_COLUMN_FACTOR = np.uint32(0x9E3779B1)
_ROW_FACTOR = np.uint32(0x85EBCA77)


def hash_lattice(columns: NDArray[np.int64], rows: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Return a pseudo-random number in [0, 1) per lattice point.

    Args:
        columns: (w,) lattice columns; any integers.
        rows: (h,) lattice rows.
        seed: any integer.

    Returns:
        (h, w) float32. The mixer is "lowbias32" of Chris Wellons' hash-prospector.
    """
    column_hash = _mix(columns.astype(np.uint32) * _COLUMN_FACTOR + np.uint32(seed & 0xFFFFFFFF))
    row_hash = rows.astype(np.uint32) * _ROW_FACTOR
    mixed = _mix(column_hash[None, :] ^ row_hash[:, None])
    return (mixed >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def value_noise(x_m: NDArray[np.float64], y_m: NDArray[np.float64], cell_m: float, seed: int) -> NDArray[np.float32]:
    """Return smooth noise on the grid spanned by two coordinate vectors.

    Args:
        x_m: (w,) world x per column, m.
        y_m: (h,) world y per row, m.
        cell_m: distance of the lattice points between which is interpolated, m.
        seed: any integer.

    Returns:
        (h, w) float32 in [-1, 1).
    """
    first_column, column, x_weight = _lattice_positions(x_m, cell_m)
    first_row, row, y_weight = _lattice_positions(y_m, cell_m)
    columns = np.arange(first_column, first_column + column[-1] + 2)
    rows = np.arange(first_row, first_row + row[-1] + 2)
    lattice = hash_lattice(columns, rows, seed) * np.float32(2.0) - np.float32(1.0)
    by_row = lattice[row] + (lattice[row + 1] - lattice[row]) * y_weight[:, None]
    left = by_row[:, column]
    return np.asarray(left + (by_row[:, column + 1] - left) * x_weight[None, :], dtype=np.float32)


def _mix(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Scramble 32-bit integers; overflow is meant."""
    values = values ^ (values >> np.uint32(16))
    values = values * _MIX_1
    values = values ^ (values >> np.uint32(15))
    values = values * _MIX_2
    return values ^ (values >> np.uint32(16))


def _lattice_positions(
    coordinates_m: NDArray[np.float64], cell_m: float
) -> tuple[int, NDArray[np.int64], NDArray[np.float32]]:
    """Return the first lattice index, and per (increasing) coordinate its cell from there and its smoothed weight."""
    scaled = coordinates_m / cell_m
    cells = np.floor(scaled).astype(np.int64)
    weight = scaled - cells
    return int(cells[0]), cells - cells[0], (weight * weight * (3.0 - 2.0 * weight)).astype(np.float32)
