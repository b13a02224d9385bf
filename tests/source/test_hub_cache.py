"""The cache that all the hub's clients share, filled by others, or carried to a machine without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, snapshot_download

from bevformer_lib.errors import SourceError
from bevformer_lib.source.hub_access import HubAccess
from bevformer_lib.source.open import fetch, resolve_source
from tests.standins.hub.server import StandInHub, running_hub

REPO = "me/model"
FILES = {"tiny.pth": os.urandom(5000), "data/scene_index.json": b"{}", "data/scene-0/meta.json": b"{ }"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no token"))
    with running_hub() as running:
        running.commit(REPO, FILES)
        yield running


def offline(cache: Path) -> HubAccess:
    return HubAccess(endpoint="http://127.0.0.1:9", cache=cache, offline=True)


def get(address: str, access: HubAccess) -> Path:
    return fetch(resolve_source(address, access), access=access)


def test_what_another_program_fetched_is_there(hub: StandInHub, tmp_path: Path) -> None:
    cache = tmp_path / "hf"
    snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=cache)
    assert get(f"hf://{REPO}/tiny.pth", offline(cache)).read_bytes() == FILES["tiny.pth"]
    folder = get(f"hf://{REPO}/data", offline(cache))
    assert (folder / "scene-0" / "meta.json").read_bytes() == b"{ }"
    commit = resolve_source(f"hf://{REPO}/tiny.pth", offline(cache)).commit
    assert get(f"hf://{REPO}@{commit}/tiny.pth", offline(cache)).is_file()
    for missing in ("hf://me/model/other.pth", "hf://me/model@v2/tiny.pth", "hf://me/other/tiny.pth"):
        with pytest.raises(SourceError, match="is not in the cache"):
            get(missing, offline(cache))


@pytest.mark.parametrize("links", [True, False], ids=["with links", "as plain files"])
def test_a_cache_that_was_filled_here_works_on_another_machine(hub: StandInHub, tmp_path: Path, links: bool) -> None:
    filled = HubAccess(endpoint=hub.endpoint, cache=tmp_path / "hf")
    get(f"hf://{REPO}/data", filled)
    get(f"hf://{REPO}/tiny.pth", filled)
    shutil.rmtree(tmp_path / "ours")
    carried = tmp_path / "carried"
    shutil.copytree(tmp_path / "hf", carried, symlinks=links)
    shutil.rmtree(tmp_path / "hf")
    assert get(f"hf://{REPO}/tiny.pth", offline(carried)).read_bytes() == FILES["tiny.pth"]
    assert (get(f"hf://{REPO}/data", offline(carried)) / "scene_index.json").read_bytes() == b"{}"


def test_other_programs_find_what_was_fetched_here(hub: StandInHub, tmp_path: Path) -> None:
    cache = tmp_path / "hf"
    get(f"hf://{REPO}/tiny.pth", HubAccess(endpoint=hub.endpoint, cache=cache))
    found = hf_hub_download(REPO, "tiny.pth", cache_dir=cache, local_files_only=True)
    assert Path(found).read_bytes() == FILES["tiny.pth"]


def test_a_damaged_cache_is_not_believed(hub: StandInHub, tmp_path: Path) -> None:
    cache = tmp_path / "hf"
    snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=cache)
    reference = cache / "models--me--model" / "refs" / "main"
    snapshot = next((cache / "models--me--model" / "snapshots").iterdir())
    (snapshot / "tiny.pth").resolve().write_bytes(bytes(5000))
    with pytest.raises(SourceError, match=r"tiny\.pth: is not in the cache"):
        get(f"hf://{REPO}/tiny.pth", offline(cache))
    (snapshot / "tiny.pth").resolve().unlink()
    with pytest.raises(SourceError, match="is not in the cache"):
        get(f"hf://{REPO}", offline(cache))
    for wrong in ("../../../etc", "", "no commit"):
        reference.write_text(wrong)
        with pytest.raises(SourceError, match="is not in the cache"):
            get(f"hf://{REPO}/data", offline(cache))
    with pytest.raises(SourceError, match="is not in the cache"):
        get(f"hf://{REPO}@..%2Fsnapshots/data", offline(cache))
