"""The way to nuscenes-devkit: imported where it is used, so that a board does without."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import MissingPackageError, SceneError

LIDAR_CHANNEL: Final = "LIDAR_TOP"
"""The sensor whose keyframe is the reference of boxes, poses and projections."""
_EMPTY_BYTES: Final = 8
"""A table with an entry holds its token, 32 digits, at least."""


def require_devkit() -> None:
    """Import what is used of nuscenes-devkit.

    Raises:
        MissingPackageError: it, or something that it needs, is not installed.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")  # the devkit imports matplotlib's pyplot; servers have no display
    os.environ.setdefault("TQDM_DISABLE", "1")  # the devkit shows bars of its own between ours
    try:
        import nuscenes.eval.detection.evaluate
        import nuscenes.nuscenes  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"nuscenes-devkit can't be imported ({error}); install it with pip install 'bevformer-axera[nuscenes]'"
        ) from error


def open_dataset(root: Path, version: str) -> Any:
    """Return a ``nuscenes.NuScenes`` of the tables in ``root/version``.

    Args:
        root: the dataset's root: holds ``samples``, ``maps`` and a folder of tables per version.
        version: name of that folder, such as ``v1.0-mini``.

    Raises:
        MissingPackageError: nuscenes-devkit is not installed.
        SceneError: there are no such tables, or they are not whole.
    """
    require_devkit()
    from nuscenes.nuscenes import NuScenes

    tables = root / version
    if not tables.is_dir():
        found = ", ".join(sorted(path.name for path in root.glob("v1.0*"))) or "none"
        raise SceneError(f"{tables}: no tables of nuScenes {version} there; versions in {root}: {found}")
    try:
        return NuScenes(version=version, dataroot=str(root), verbose=False)
    except (OSError, AssertionError, json.JSONDecodeError) as error:
        raise SceneError(f"{tables}: the tables can't be loaded: {error}") from error
    except (KeyError, IndexError, TypeError) as error:
        empty = [path.name for path in sorted(tables.glob("*.json")) if path.stat().st_size < _EMPTY_BYTES]
        why = (
            f"{', '.join(empty)} empty; nuscenes-devkit needs an entry there" if empty else f"{error!r} is not in them"
        )
        raise SceneError(f"{tables}: the tables are not whole: {why}") from error


def scenes_of_split(dataset: Any, split: str) -> list[dict[str, Any]]:
    """Return the records of a split's scenes, in the order of the scene table.

    Args:
        dataset: a ``nuscenes.NuScenes``.
        split: an official split (``mini_val``, ``val``, ...), or one of the dataset's own ``splits.json``.

    Raises:
        SceneError: the split is not known, or scenes of it are not in this version of the dataset.
    """
    from nuscenes.utils import splits

    try:
        names = set(splits.get_scenes_of_split(split, dataset))
    except ValueError as error:
        official = ", ".join(splits.create_splits_scenes())
        raise SceneError(
            f"split {split!r} is neither official ({official}) nor one of this dataset: {error}"
        ) from error
    scenes = [scene for scene in dataset.scene if scene["name"] in names]
    if len(scenes) < len(names):
        tables = Path(dataset.dataroot) / dataset.version
        missing = sorted(names - {scene["name"] for scene in scenes})
        raise SceneError(
            f"{tables}: holds {len(scenes)} of the {len(names)} scenes of split {split!r} (not {missing[0]}, for one); "
            "choose the split that belongs to this version"
        )
    return scenes


def samples_of_scene(dataset: Any, scene: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of a scene's keyframes in time order."""
    samples = []
    token = scene["first_sample_token"]
    while token:
        samples.append(dataset.get("sample", token))
        token = samples[-1]["next"]
    return samples
