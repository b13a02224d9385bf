"""Which scenes a folder holds, in which order: `scene_index.json`, or the folders themselves where it is missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bevformer_lib.scenes.layout import SCENE_INDEX_NAME
from bevformer_lib.strict_json import read_json_object

_MOST_FRAMES: Final = 100_000
"""Of a scene: nuScenes' have 40, fourteen hours at two per second this many."""


@dataclass(frozen=True)
class SceneEntry:
    """A scene that the folder announces.

    Attributes:
        name: name of its folder.
        frames: its frame numbers in time order, or ``None`` where they are to be listed.
    """

    name: str
    frames: tuple[int, ...] | None


def find_scenes(root: Path) -> tuple[tuple[SceneEntry, ...], list[str]]:
    """Return the scenes of a folder in order, and the defects found on the way."""
    if not root.is_dir():
        return (), [f"{root}: {'is not a folder' if root.exists() else 'does not exist'}"]
    index = root / SCENE_INDEX_NAME
    if index.exists():
        return _indexed_scenes(index)
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        return (), [f"{root}: holds neither {SCENE_INDEX_NAME} nor a folder per scene"]
    return tuple(SceneEntry(name, None) for name in names), []


def _indexed_scenes(index: Path) -> tuple[tuple[SceneEntry, ...], list[str]]:
    try:
        scenes = read_json_object(index).get("scenes")
    except ValueError as error:
        return (), [f"{index}: {error}"]
    if not isinstance(scenes, dict) or not scenes:
        return (), [f'{index}: must hold {{"scenes": {{"<scene>": {{"samples": [0, 1, ...]}}}}}}']
    entries, defects = [], []
    for name, content in scenes.items():
        try:
            entries.append(SceneEntry(require_folder_name(name), _samples(content, name)))
        except ValueError as error:
            defects.append(f"{index}: {error}")
    return tuple(entries), defects


def require_folder_name(name: str) -> str:
    """Return a scene's name.

    Raises:
        ValueError: as a folder's name it would lead elsewhere.
    """
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(f"scene {name!r} is not a plain folder name")
    return name


def _samples(content: object, name: str) -> tuple[int, ...]:
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list) or not samples:
        raise ValueError(f"scene {name!r} lacks its list of frame numbers, `samples`")
    if len(samples) > _MOST_FRAMES:
        raise ValueError(
            f"scene {name!r:.200} lists {len(samples):,} frames, more than {_MOST_FRAMES:,}; split the scene"
        )
    wrong = [sample for sample in samples if type(sample) is not int or sample < 0]
    if wrong:
        raise ValueError(f"scene {name!r}: {wrong[0]!r} is not a frame number")
    repeated = sorted(sample for sample, times in Counter(samples).items() if times > 1)
    if repeated:
        raise ValueError(f"scene {name!r} lists frames more than once: {', '.join(map(str, repeated))}")
    return tuple(samples)
