"""Where frames of a recording were in each other, over time."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.recordings.messages import Transform

_ROTATION: Final = slice(3, 7)
_RIGID_VALUES: Final = 7


class Track:
    """Values that were measured at times, in any order; the first seven may be a rigid transform."""

    def __init__(self) -> None:
        self._given_ns = array("q")
        self._given = array("d")
        self._sorted: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None

    def __len__(self) -> int:
        return len(self._given_ns)

    def add(self, stamp_ns: int, values: Sequence[float]) -> None:
        """Add what was measured at a time; as many values as before."""
        self._given_ns.append(stamp_ns)
        self._given.extend(values)
        self._sorted = None

    def nearest(self, stamp_ns: int) -> NDArray[np.float64]:
        """Return what was measured nearest to a time, however far."""
        stamps, values = self._in_order()
        found: NDArray[np.float64] = values[nearest_index(stamps, stamp_ns)]
        return found

    def at(self, stamp_ns: int, *, longest_gap_ns: int, tolerance_ns: int) -> NDArray[np.float64] | None:
        """Return the values at a time.

        Between two measurements not further apart than ``longest_gap_ns`` they are interpolated; elsewhere the nearest
        are taken, if within ``tolerance_ns``, and otherwise none.
        """
        stamps, values = self._in_order()
        nearest = nearest_index(stamps, stamp_ns)
        found: NDArray[np.float64] = values[nearest]
        if stamps[nearest] == stamp_ns:
            return found
        after = int(np.searchsorted(stamps, stamp_ns))
        if 0 < after < len(stamps) and stamps[after] - stamps[after - 1] <= longest_gap_ns:
            share = (stamp_ns - int(stamps[after - 1])) / int(stamps[after] - stamps[after - 1])
            return _between(values[after - 1], values[after], share)
        return found if abs(int(stamps[nearest]) - stamp_ns) <= tolerance_ns else None

    def _in_order(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        if self._sorted is None:
            stamps = np.array(self._given_ns, np.int64)
            order = np.argsort(stamps, kind="stable")
            self._sorted = stamps[order], np.array(self._given).reshape(len(stamps), -1)[order]
        return self._sorted


class Transforms:
    """Frames below one another, as transforms of a recording tell."""

    def __init__(self) -> None:
        self._edges: dict[str, tuple[str, Track]] = {}
        self.static: set[str] = set()

    def __contains__(self, frame: str) -> bool:
        return frame in self.frames

    @property
    def frames(self) -> set[str]:
        """All frames."""
        return {*self._edges, *(parent for parent, _ in self._edges.values())}

    def add(self, transform: Transform, *, static: bool = False) -> None:
        """Add where a frame was; one that has another parent already keeps that."""
        parent, track = self._edges.setdefault(transform.child, (transform.parent, Track()))
        if parent == transform.parent != transform.child:
            track.add(transform.stamp_ns, transform.values)
            if static:
                self.static.add(transform.child)

    def place(self, child: str, parent: str, matrix: NDArray[np.float64]) -> str:
        """Place a frame for good by its (4, 4), and return its name."""
        values = (*matrix[:3, 3], *quaternion_of(matrix[:3, :3]))
        self.add(Transform(0, parent, child, values), static=True)
        return child

    def above(self, frame: str) -> list[tuple[str, Track]]:
        """Return the frames from this one up to the last that has a parent, each with its place in its parent."""
        found: dict[str, Track] = {}
        while frame in self._edges and frame not in found:
            parent, track = self._edges[frame]
            if not len(track):
                break
            found[frame] = track
            frame = parent
        return list(found.items())

    def mounted(self, source: str, target: str, stamp_ns: int) -> NDArray[np.float64] | None:
        """Return (4, 4) from frame ``source`` to frame ``target``, which are mounted on one another.

        Of each place, what was told nearest to the time counts. ``None``: they are not connected.
        """
        matrices = {}
        for frame in (source, target):
            to_ancestor = {frame: np.eye(4)}
            matrix = None
            for child, track in self.above(frame):
                step = rigid_matrix(track.nearest(stamp_ns))
                matrix = step if matrix is None else step @ matrix
                to_ancestor[self._edges[child][0]] = matrix
            matrices[frame] = to_ancestor
        common = next((frame for frame in matrices[source] if frame in matrices[target]), None)
        if common is None:
            return None
        if common == target:
            return matrices[source][common]
        return rigid_inverse(matrices[target][common]) @ matrices[source][common]


def nearest_index(stamps_ns: NDArray[np.int64], stamp_ns: int) -> int:
    """Return the position of the time nearest to one, of times in order; the earlier of two that are equally near."""
    after = int(np.searchsorted(stamps_ns, stamp_ns))
    if after == 0:
        return 0
    if after == len(stamps_ns):
        return after - 1
    return after if int(stamps_ns[after]) - stamp_ns < stamp_ns - int(stamps_ns[after - 1]) else after - 1


def rigid_matrix(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (4, 4) of a translation and a unit quaternion w, x, y, z."""
    w, x, y, z = values[_ROTATION]
    matrix = np.eye(4)
    matrix[:3, :3] = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    matrix[:3, 3] = values[:3]
    return matrix


def rigid_inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a (4, 4) rotation and translation."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def quaternion_of(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (4,) w, x, y, z, with w not negative, of a (3, 3) rotation: the eigenvector of Bar-Itzhack's method."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    lower = np.array(
        (
            (xx - yy - zz, 0.0, 0.0, 0.0),
            (yx + xy, yy - xx - zz, 0.0, 0.0),
            (zx + xz, zy + yz, zz - xx - yy, 0.0),
            (zy - yz, xz - zx, yx - xy, xx + yy + zz),
        )
    )
    x, y, z, w = np.linalg.eigh(lower)[1][:, -1]
    quaternion = np.array((w, x, y, z))
    return -quaternion if w < 0.0 else quaternion


def quaternion_product(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (4,) w, x, y, z of the rotation ``other``, and then ``one``."""
    w, v, other_w, other_v = one[0], one[1:], other[0], other[1:]
    return np.array((w * other_w - v @ other_v, *(w * other_v + other_w * v + np.cross(v, other_v))))


def _between(before: NDArray[np.float64], after: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return values part of the way from one to the other; rotations along the shorter way, which is short here."""
    after = after.copy()
    if len(after) >= _RIGID_VALUES and before[_ROTATION] @ after[_ROTATION] < 0.0:
        after[_ROTATION] *= -1.0
    mixed = (1.0 - share) * before + share * after
    if len(after) >= _RIGID_VALUES:
        mixed[_ROTATION] /= np.linalg.norm(mixed[_ROTATION])
    return mixed
