"""What a build is made from: the model's configuration, a checkpoint and scenes, each known by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bevformer_lib.demo import checkpoint_address
from bevformer_lib.errors import BevformerError, CheckpointError, ConfigError, SceneError, StoreError
from bevformer_lib.pipeline.input_locations import file_here, file_place, position_here, scenes_here, scenes_place
from bevformer_lib.plain_data import from_plain
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.scenes.index import find_scenes
from bevformer_lib.scenes.listing import FrameFiles, list_frames
from bevformer_lib.scenes.metas import read_metas
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene
from bevformer_lib.store.base import Store
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.step import Artifact
from bevformer_lib.strict_json import read_json_object

Kind = TypeVar("Kind")
_LABEL = "reading inputs"
IMAGE_PACKAGES = ("opencv-python-headless", "numpy")
"""What decodes and normalises images."""


@dataclass(frozen=True)
class SceneSource:
    """A scene by its content.

    Attributes:
        content: digest over its files in order of the frames; ``source`` is the folder of scenes that holds it, or its
            address on the hub.
    """

    content: Artifact
    num_frames: int

    @property
    def name(self) -> str:
        """Name of the scene."""
        return self.content.name

    def read(self, requirements: SceneRequirements) -> Scene:
        """Read and check the scene.

        Raises:
            SceneError: it has defects, or is no longer there.
        """
        root = scenes_root([self])
        start = position_here(root, self.name)
        scenes = read_scenes(root, requirements, start_scene=start, end_scene=start + 1)
        if scenes[0].name != self.name or len(scenes[0].frames) != self.num_frames:
            raise SceneError(f"{root}: was changed while it was in use; start the build again")
        return scenes[0]


def checkpoint_input(address: str | Path, digests: DigestCache) -> Artifact:
    """Return a checkpoint by its content.

    Args:
        address: a path, ``hf://owner/repo[@revision]/path``, which is fetched, or ``demo``, which is shipped.
        digests: of files that were read before.

    Raises:
        CheckpointError: the file can't be read.
        SourceError: the hub does not have it, or can't be reached.
    """
    try:
        return file_input(checkpoint_address(address), digests)
    except ConfigError as error:
        raise CheckpointError(f"{error}: give the checkpoint's .pth file") from error


def file_input(address: str | Path, digests: DigestCache) -> Artifact:
    """Return a file from outside by its content; see :func:`checkpoint_input`.

    Raises:
        ConfigError: the file can't be read.
        SourceError: the hub does not have it, or can't be reached.
    """
    place = file_place(address)
    path = place.path
    try:
        return Artifact(path.name, digests.digest(path), path.stat().st_size, source=place.source)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error


def scene_inputs(
    address: str | Path,
    digests: DigestCache,
    requirements: SceneRequirements,
    *,
    start_scene: int = 0,
    end_scene: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> tuple[SceneSource, ...]:
    """Return the scenes ``start_scene`` to ``end_scene`` (exclusive) of a folder by their content.

    Files that were not touched since they were last read are not read again. What the files hold is not checked here,
    unless one is missing: then all defects are reported together.

    Args:
        address: a folder, or ``hf://owner/repo[@revision]/path``, of which these scenes are fetched.
        digests: of files that were read before.
        requirements: what the model asks of scenes.
        start_scene: counted from 0.
        end_scene: scene to stop before; ``None``: all.
        on_progress: called with the progress of the frames.

    Raises:
        SourceError: the hub does not have it, or can't be reached.
        SceneError: the folder holds no such scenes, or files are missing; ``defects`` holds everything that is wrong.
    """
    place = scenes_place(address, lambda listed: listed[start_scene:end_scene], on_progress)
    root = place.path
    entries, defects = find_scenes(root)
    if place.chosen is not None:  # the hub's folder; without an index, only scenes that were fetched show here
        here = [entry.name for entry in entries]
        start_scene, end_scene = here.index(place.chosen[0]), here.index(place.chosen[-1]) + 1
    selected = entries[start_scene:end_scene]
    files: list[tuple[FrameFiles, ...]] = []
    for entry in selected:
        listed, found = list_frames(root / entry.name, entry.frames, requirements.num_cams)
        defects.extend(found)
        files.append(listed)
    if defects or not selected:
        # The full check names these defects and all others, so that the folder is corrected once.
        read_scenes(root, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
        raise SceneError(f"{root} has {len(defects)} defects; correct them and run again:", defects)
    total, done, sources = sum(map(len, files)), 0, []
    for entry, listed in zip(selected, files, strict=True):
        content = _content_of(entry.name, place.source, _paths(listed), digests)
        sources.append(SceneSource(content, len(listed)))
        done += len(listed)
        on_progress(_LABEL, done, total)
    return tuple(sources)


def read_scene_metas(sources: Sequence[SceneSource]) -> list[Scene]:
    """Read the meta files of scenes of one folder, in the order of the sources; the frames have no images.

    Raises:
        SceneError: they have defects, or are no longer there.
    """
    root = scenes_root(sources)
    by_name = {scene.name: scene for scene in read_metas(root, [source.name for source in sources])}
    return [by_name[source.name] for source in sources]


def read_json_artifact(store: Store, artifact: Artifact) -> dict[str, Any]:
    """Return what a step wrote as a JSON object.

    Raises:
        StoreError: it holds something else; and see :func:`open_artifact`.
    """
    path = open_artifact(store, artifact)
    try:
        return read_json_object(path)
    except ValueError as error:
        raise StoreError(f"{artifact.made_by}: {artifact.name} {error}; build again") from None


def read_artifact(store: Store, artifact: Artifact, kind: type[Kind]) -> Kind:
    """Return what a step wrote with :func:`~bevformer_lib.plain_data.to_plain`.

    Raises:
        StoreError: it holds something else; and see :func:`open_artifact`.
    """
    return parsed(artifact, kind, read_json_artifact(store, artifact))


def parsed(artifact: Artifact, kind: type[Kind], content: object) -> Kind:
    """Return what a part of a step's JSON file declares to be.

    Raises:
        StoreError: it is something else.
    """
    try:
        return from_plain(kind, content)
    except ValueError as error:
        raise StoreError(f"{artifact.made_by}: {artifact.name} {error}; build again") from None


def open_artifact(store: Store, artifact: Artifact) -> Path:
    """Return a local file with an artifact's verified content, whether a step made it or it came from outside.

    Raises:
        StoreError: a step's output is missing or corrupted.
        BevformerError: a file from outside is no longer what it was.
    """
    if artifact.source is None:
        return store.get_object(artifact.sha256)
    path = file_here(artifact.source)
    if not path.is_file() or path.stat().st_size != artifact.size:
        raise BevformerError(
            f"{path}: was changed or removed while it was in use, or is not on this machine; start the build again; "
            "machines that share a build's work need the file under one path, or on the hub (hf://...)"
        )
    return path


def scenes_root(scenes: Sequence[SceneSource]) -> Path:
    """Return the folder of scenes on this machine, with these scenes of it.

    Raises:
        SceneError: it is not there.
        SourceError: the hub can't be reached.
    """
    source = scenes[0].content.source
    if source is None:
        raise SceneError(f"scene {scenes[0].name}: does not say where it is")
    return scenes_here(source, [scene.name for scene in scenes])


def _paths(frames: tuple[FrameFiles, ...]) -> list[Path]:
    """Return the files of a scene in order of its frames and cameras; a frame without its meta has no place here."""
    return [
        path
        for frame in frames
        for path in (frame.meta, *(frame.images[camera] for camera in sorted(frame.images)))
        if path is not None
    ]


def _content_of(name: str, source: str, paths: list[Path], digests: DigestCache) -> Artifact:
    lines = hashlib.sha256()
    size = 0
    for path in paths:
        try:
            lines.update(f"{digests.digest(path)} {path.name}\n".encode())
            size += path.stat().st_size
        except OSError as error:
            raise SceneError(f"{path}: can't be read ({error.strerror}); correct it and run again") from error
    return Artifact(name, lines.hexdigest(), size, source=source)
