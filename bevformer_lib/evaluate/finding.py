"""What one check of a compiled model found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        value: for ``ego_motion``, ``prev_bev`` and ``lidar2img`` the candidate's answer as a share of the float model's
            (1: the same, 0: none); for the others the number of things that are wrong. ``None``: no result.
        note: what was found, or why nothing was.
    """

    value: float | None
    note: str = ""
