"""Inputs by address: the real huggingface_hub against a stand-in server, on one machine and on another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bevformer_lib.errors import BevformerError, CheckpointError, SceneError, SourceError
from bevformer_lib.pipeline.check import CheckScenesWork
from bevformer_lib.pipeline.executors import DirectExecutor
from bevformer_lib.pipeline.inputs import SceneSource, checkpoint_input, open_artifact, read_scene_metas, scene_inputs
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.source.hub_access import HubAccess, current_hub_access, using_hub_access
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.step import Artifact
from tests.standins.hub.server import StandInHub, running_hub
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes

REPO = "me/drive"
NEEDS = SceneRequirements.of_model(micro_config())


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with running_hub() as running:
        yield running
    assert running.refused == []


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def machine(hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine that reaches the hub; its caches are in the folder."""
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no token"))
    with using_hub_access(access_from(tmp_path / "first", hub, monkeypatch)):
        yield tmp_path / "first"


def access_from(folder: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> HubAccess:
    """How the hub is reached from a machine whose caches are in a folder."""
    monkeypatch.setenv("BEVFORMER_CACHE", str(folder / "ours"))
    return HubAccess(endpoint=hub.endpoint, cache=folder / "hf")


def files_of(folder: Path, prefix: str = "inference_data") -> dict[str, bytes]:
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def digests(scenes: tuple[SceneSource, ...]) -> list[str]:
    return [scene.content.sha256 for scene in scenes]


@pytest.mark.parametrize("scene_index", [True, False], ids=["index", "no index"])
def test_scenes_on_the_hub_are_the_same_content_as_in_a_folder(
    hub: StandInHub, machine: Path, store: FolderStore, tmp_path: Path, scene_index: bool
) -> None:
    local = write_scenes(tmp_path / "scenes", num_scenes=3, scene_index=scene_index)
    commit = hub.commit(REPO, files_of(local))
    scenes = scene_inputs(f"hf://{REPO}/inference_data", store.digests, NEEDS)
    assert digests(scenes) == digests(scene_inputs(local, store.digests, NEEDS))
    assert {scene.content.source for scene in scenes} == {f"hf://{REPO}@{commit}/inference_data"}
    assert DirectExecutor(store).do(CheckScenesWork(scenes, NEEDS)).record.facts["frames"] == 9


@pytest.mark.parametrize("scene_index", [True, False], ids=["index", "no index"])
def test_another_machine_fetches_the_scene_that_it_needs_and_no_other(
    hub: StandInHub,
    machine: Path,
    store: FolderStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scene_index: bool,
) -> None:
    hub.commit(REPO, files_of(write_scenes(tmp_path / "scenes", num_scenes=3, scene_index=scene_index)))
    scenes = scene_inputs(f"hf://{REPO}/inference_data", store.digests, NEEDS)
    hub.commit(REPO, {"README.md": b"nothing left"})  # what is pinned stays
    hub.requests.clear()
    with using_hub_access(access_from(tmp_path / "second", hub, monkeypatch)):
        assert [frame.index for frame in scenes[1].read(NEEDS).frames] == [0, 1, 2]
        assert hub.asked("scene-0001/")
        assert not hub.asked("scene-0000/")
        assert read_scene_metas(scenes[1:])[1].name == "scene-0002"


def test_only_the_selected_scenes_are_fetched(
    hub: StandInHub, machine: Path, store: FolderStore, tmp_path: Path
) -> None:
    hub.commit(REPO, files_of(write_scenes(tmp_path / "scenes", num_scenes=3)))
    scenes = scene_inputs(f"hf://{REPO}/inference_data", store.digests, NEEDS, start_scene=1, end_scene=2)
    assert [scene.name for scene in scenes] == ["scene-0001"]
    assert not hub.asked("resolve") or not hub.asked("scene-0000/")
    with pytest.raises(SceneError, match="no scene was selected"):
        scene_inputs(f"hf://{REPO}/inference_data", store.digests, NEEDS, start_scene=7)


def test_a_file_that_changed_upstream_is_a_new_input_and_a_new_commit_alone_is_not(
    hub: StandInHub, machine: Path, store: FolderStore, tmp_path: Path
) -> None:
    files = files_of(write_scenes(tmp_path / "scenes", num_scenes=2)) | {"tiny.pth": b"x" * 5000}
    address, checkpoint = f"hf://{REPO}/inference_data", f"hf://{REPO}/tiny.pth"
    first = hub.commit(REPO, files)
    before, weights = scene_inputs(address, store.digests, NEEDS), checkpoint_input(checkpoint, store.digests)
    assert weights.source == f"hf://{REPO}@{first}/tiny.pth"

    hub.commit(REPO, files | {"README.md": b"new"})
    assert digests(scene_inputs(address, store.digests, NEEDS)) == digests(before)
    assert checkpoint_input(checkpoint, store.digests).sha256 == weights.sha256

    changed = "inference_data/scene-0001/cam_03_000002.png"
    hub.commit(REPO, files | {changed: files["inference_data/scene-0001/cam_03_000001.png"], "tiny.pth": b"y" * 5000})
    after = scene_inputs(address, store.digests, NEEDS)
    assert [old == new for old, new in zip(digests(before), digests(after), strict=True)] == [True, False]
    assert checkpoint_input(checkpoint, store.digests).sha256 != weights.sha256
    assert open_artifact(store, weights).read_bytes() == b"x" * 5000  # the pinned one is still what it was


def test_what_is_missing_is_said(hub: StandInHub, machine: Path, store: FolderStore, tmp_path: Path) -> None:
    hub.commit(REPO, files_of(write_scenes(tmp_path / "scenes", num_scenes=1)))
    with pytest.raises(SourceError, match="inference_data"):
        checkpoint_input(f"hf://{REPO}/tiny.pth", store.digests)
    with pytest.raises(SourceError, match="is a folder"):
        checkpoint_input(f"hf://{REPO}/inference_data", store.digests)
    with pytest.raises(CheckpointError, match=r"give the checkpoint's \.pth"):
        checkpoint_input(tmp_path / "none.pth", store.digests)
    with pytest.raises(BevformerError, match="not on this machine"):
        open_artifact(store, Artifact("c.pth", "0" * 64, 1, source="/elsewhere/c.pth"))
    scene = SceneSource(Artifact("scene-0000", "0" * 64, 1, source="/elsewhere/scenes"), 3)
    with pytest.raises(SceneError, match="not on this machine"):
        scene.read(NEEDS)


def test_the_way_to_the_hub_holds_for_a_block_only() -> None:
    with using_hub_access(HubAccess(token="hf_secret")):
        assert current_hub_access().token == "hf_secret"
    assert current_hub_access().token is None
