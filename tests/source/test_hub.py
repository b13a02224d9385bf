"""Inputs from the hub: the real huggingface_hub against a stand-in server."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from bevformer_lib.errors import SourceError, SourceUnreachableError
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.source.address import HubAddress
from bevformer_lib.source.hub_access import HubAccess, named_hub_errors
from bevformer_lib.source.open import fetch, resolve_source, source_digests
from tests.standins.hub.server import StandInHub, hang_at, running_hub

REPO = "AXERA-TECH/bevformer"
TOKEN = "hf_PlantedToken5f1d"
MIB = 1 << 20
CHUNK = 10 * MIB


def scene_files() -> dict[str, bytes]:
    files = {f"inference_data/scene-0001/cam_{camera:02d}_000000.png": os.urandom(3000) for camera in range(6)}
    files["inference_data/scene-0001/meta_000000.json"] = b'{"can_bus": []}'
    files["inference_data/scene_index.json"] = b'{"scenes": {}}'
    return {**files, "checkpoints/tiny größe.pth": os.urandom(200_000), "README.md": b"# BEVFormer"}


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with running_hub() as running:
        yield running
    assert running.refused == []


@pytest.fixture
def access(hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubAccess:
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no token"))
    return HubAccess(endpoint=hub.endpoint, cache=tmp_path / "hf")


def get(address: str, access: HubAccess) -> Path:
    return fetch(resolve_source(address, access), access=access)


def wait_until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_file_is_pinned_and_fetched(hub: StandInHub, access: HubAccess) -> None:
    files = scene_files()
    commit = hub.commit(REPO, files)
    source = resolve_source("hf:///checkpoints/tiny größe.pth", access)

    content = files["checkpoints/tiny größe.pth"]
    assert (source.repo, source.revision, source.commit) == (REPO, "main", commit)
    assert source.uri == f"hf://{REPO}@{commit}/checkpoints/tiny größe.pth"
    assert [(file.path, file.size, file.sha256) for file in source.files] == [
        ("tiny größe.pth", 200_000, hashlib.sha256(content).hexdigest())
    ]
    assert hub.asked("/resolve/") == [], "nothing is downloaded yet"
    progress: list[tuple[str, int, int]] = []
    path = fetch(source, lambda *told: progress.append(told), access=access)
    assert path.read_bytes() == content
    assert progress[-1] == ("fetching bytes", 200_000, 200_000)


def test_a_folder_is_fetched_with_all_its_files(hub: StandInHub, access: HubAccess) -> None:
    files = scene_files()
    hub.commit(REPO, files)
    source = resolve_source(f"hf://{REPO}/inference_data/", access)
    folder = fetch(source, access=access)
    below = {path.removeprefix("inference_data/"): content for path, content in files.items() if "inference" in path}
    assert {path: (folder / path).read_bytes() for path in below} == below
    digests = source_digests(source, folder)
    assert digests == {path: hashlib.sha256(content).hexdigest() for path, content in below.items()}
    assert not (folder.parent / "checkpoints").exists()


def test_what_is_cached_is_not_downloaded_again(hub: StandInHub, access: HubAccess) -> None:
    commit = hub.commit(REPO, scene_files())
    path = get("hf:///inference_data", access)
    hub.requests.clear()
    assert get("hf:///inference_data", access) == path
    assert hub.asked("/resolve/") + hub.asked("/resolve/", "HEAD") == []
    hub.requests.clear()
    assert get(f"hf://@{commit}/inference_data", access) == path
    assert hub.requests == [], "a commit never changes"


def test_a_moved_revision_is_a_new_input_and_the_old_one_stays(hub: StandInHub, access: HubAccess) -> None:
    files = scene_files()
    old_commit = hub.commit(REPO, files)
    old = resolve_source("hf:///inference_data", access)
    fetch(old, access=access)
    same_commit = hub.commit(REPO, {**files, "README.md": b"changed"})
    same = resolve_source("hf:///inference_data", access)
    assert (same.commit, same.files) == (same_commit, old.files)
    hub.requests.clear()
    fetch(same, access=access)
    assert hub.asked("/cdn/") == [], "content that is cached is linked, not downloaded"

    files["inference_data/scene-0001/cam_00_000000.png"] = os.urandom(3000)
    hub.commit(REPO, files)
    new = resolve_source("hf:///inference_data", access)
    assert new.files != old.files
    changed = "scene-0001/cam_00_000000.png"
    assert (fetch(new, access=access) / changed).read_bytes() == files[f"inference_data/{changed}"]
    assert (get(f"hf://@{old_commit}/inference_data", access) / changed).read_bytes() != files[
        f"inference_data/{changed}"
    ]


def test_a_missing_path_lists_what_is_there(hub: StandInHub, access: HubAccess) -> None:
    hub.commit(REPO, scene_files())
    with pytest.raises(SourceError) as raised:
        resolve_source("hf:///inference_data/scene-0002/meta_000000.json", access)
    assert str(raised.value) == (
        f"hf://{REPO}@main/inference_data/scene-0002/meta_000000.json: there is no such file or folder; "
        f"{REPO}/inference_data holds: inference_data/scene-0001/, inference_data/scene_index.json"
    )
    with pytest.raises(SourceError, match=r"bevformer holds: README\.md, checkpoints/, inference_data/"):
        resolve_source("hf:///checkpoint.pth", access)


def test_a_missing_repository_or_revision(hub: StandInHub, access: HubAccess) -> None:
    hub.commit(REPO, scene_files())
    with pytest.raises(SourceError, match="has no repository nobody/nothing, or it is private: set HF_TOKEN"):
        resolve_source("hf://nobody/nothing/x", access)
    with pytest.raises(SourceError, match=r"the repository has no revision v9; .*lists its commits"):
        resolve_source("hf://@v9/README.md", access)


def test_revisions_with_slashes(hub: StandInHub, access: HubAccess) -> None:
    commit = hub.commit(REPO, {"a": b"1"}, ref="refs/pr/1")
    source = resolve_source("hf://@refs%2Fpr%2F1/a", access)
    assert (source.revision, source.commit) == ("refs/pr/1", commit)


def test_a_private_repository_needs_its_token_which_only_the_hub_sees(
    hub: StandInHub, access: HubAccess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    content = os.urandom(5000)
    hub.commit("me/private", {"x.bin": content, "y.txt": b"small"}, token=TOKEN)
    messages = []
    for token in (None, TOKEN + "wrong"):
        with pytest.raises(SourceError, match="has no repository me/private") as raised:
            resolve_source("hf://me/private", HubAccess(token, access.endpoint, access.cache))
        messages.append(str(raised.value))
    known = HubAccess(TOKEN, access.endpoint, access.cache)
    assert (get("hf://me/private", known) / "x.bin").read_bytes() == content
    assert any(request.host == "localhost" for request in hub.requests), "another host served the large file"
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert TOKEN not in caplog.text + "".join(messages) + repr(known) + str(known)
    assert not [text for text in written if TOKEN.encode() in text]


def test_a_gated_repository(hub: StandInHub, access: HubAccess) -> None:
    hub.commit(REPO, scene_files())
    hub.repos[REPO].gated = True
    with pytest.raises(SourceError, match="the repository is gated; accept its terms at"):
        get("hf:///README.md", access)


def test_a_download_that_breaks_off_goes_on(hub: StandInHub, access: HubAccess) -> None:
    content = os.urandom(2 * CHUNK + 12345)
    hub.commit(REPO, {"big.pth": content})
    broken: list[int] = []

    def break_twice(path: str, position: int) -> bool:
        if len(broken) < 2 and position >= (len(broken) + 1) * CHUNK:
            broken.append(position)
            return False
        return True

    hub.before_chunk = break_twice
    assert get("hf:///big.pth", access).read_bytes() == content
    assert len(broken) == 2
    assert f"bytes={CHUNK}-" in {request.range for request in hub.asked("/cdn/")}


def test_a_killed_download_goes_on_where_it_ended(hub: StandInHub, access: HubAccess, tmp_path: Path) -> None:
    content = os.urandom(2 * CHUNK + 12345)
    hub.commit(REPO, {"big.pth": content})
    reached = threading.Event()
    hub.before_chunk = hang_at(CHUNK, reached)
    program = """
import sys
from pathlib import Path
from bevformer_lib.source.hub_access import HubAccess
from bevformer_lib.source.open import fetch, resolve_source
access = HubAccess(endpoint=sys.argv[1], cache=Path(sys.argv[2]))
fetch(resolve_source("hf:///big.pth", access), access=access)
"""
    arguments = [sys.executable, "-c", program, hub.endpoint, str(access.cache)]
    with subprocess.Popen(arguments, env=dict(os.environ)) as process:
        assert reached.wait(60)
        wait_until(lambda: [path.stat().st_size for path in (tmp_path / "hf").rglob("*.incomplete")] == [CHUNK])
        process.kill()
    assert not list((tmp_path / "hf").rglob("snapshots/*/*")), "nothing half-written under a final name"

    hub.before_chunk = None
    hub.requests.clear()
    progress: list[int] = []
    source = resolve_source("hf:///big.pth", access)
    path = fetch(source, lambda _, done, total: progress.append(done), access=access)
    assert path.read_bytes() == content
    assert [request.range for request in hub.asked("/cdn/")] == [f"bytes={CHUNK}-"]
    assert progress[0] == CHUNK


def test_a_broken_rest_of_a_download_is_dropped(hub: StandInHub, access: HubAccess) -> None:
    content = os.urandom(5000)
    hub.commit(REPO, {"big.pth": content})
    blobs = access.cache_folder / "models--AXERA-TECH--bevformer" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{hashlib.sha256(content).hexdigest()}.incomplete").write_bytes(b"rotten")
    assert get("hf:///big.pth", access).read_bytes() == content
    assert [request.range for request in hub.asked("/cdn/")] == ["bytes=6-", None]


def test_content_that_is_not_what_its_digest_says_is_refused(
    hub: StandInHub, access: HubAccess, tmp_path: Path
) -> None:
    hub.commit(REPO, {"big.pth": os.urandom(5000)})
    hub.alter = lambda path, content: b"?" * len(content)
    with pytest.raises(SourceError, match=r"big\.pth: what http.* sends does not have the digest .*; nothing was kept"):
        get("hf:///big.pth", access)
    hub.alter = lambda path, content: content[:-1]
    with pytest.raises(SourceError, match="sends another size than 5000 bytes"):
        get("hf:///big.pth", access)
    assert not list((tmp_path / "hf").rglob("snapshots/*/*"))


@pytest.mark.parametrize("name", ["big.pth", "small.json"])
def test_a_corrupted_cache_is_noticed_and_fetched_anew(hub: StandInHub, access: HubAccess, name: str) -> None:
    files = {"big.pth": os.urandom(5000), "small.json": b"{}"}
    hub.commit(REPO, files)
    path = get(f"hf:///{name}", access)
    path.resolve().write_bytes(bytes(len(files[name])))
    assert get(f"hf:///{name}", access).read_bytes() == files[name]


def test_without_a_network_only_what_was_fetched_is_there(hub: StandInHub, access: HubAccess) -> None:
    hub.commit(REPO, scene_files())
    path = get("hf:///inference_data", access)
    hub.requests.clear()
    offline = HubAccess(endpoint=access.endpoint, cache=access.cache, offline=True)
    assert get("hf:///inference_data", offline) == path
    with pytest.raises(SourceError, match="is not in the cache, and the hub must not be asked"):
        get("hf:///checkpoints/tiny größe.pth", offline)
    (path / "scene-0001" / "cam_03_000000.png").unlink()
    with pytest.raises(SourceError, match=r"cam_03_000000\.png: is not in the cache"):
        get("hf:///inference_data", offline)
    assert hub.requests == []


def test_the_environment_names_mirror_token_and_offline_mode(hub: StandInHub, tmp_path: Path) -> None:
    hub.commit(REPO, {"x.bin": b"content"}, token=TOKEN)
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "BEVFORMER_CACHE": str(tmp_path / "ours"),
    }
    script = "import sys; from flows.cli import main; sys.argv = sys.argv[1:]; main()"
    command = [sys.executable, "-c", script, "bevformer", "fetch", "hf:///x.bin"]
    online = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    path = Path(online.stdout.splitlines()[-1])
    assert path.read_bytes() == b"content"
    assert path.is_relative_to(tmp_path / "hf")
    hub.requests.clear()
    output = tmp_path / "out" / "x.bin"
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, "--output", str(output)], env=offline, check=True, capture_output=True)
    assert output.read_bytes() == b"content"
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached(access: HubAccess) -> None:
    nowhere = HubAccess(endpoint="http://127.0.0.1:9", cache=access.cache)
    with pytest.raises(SourceUnreachableError, match=r"127\.0\.0\.1:9 can't be reached \(ConnectError\).*HF_ENDPOINT"):
        resolve_source("hf:///x", nowhere)
    with pytest.raises(SourceError, match="holds credentials") as raised:
        resolve_source("hf:///x", HubAccess(endpoint=f"http://me:{TOKEN}@127.0.0.1:9"))
    assert TOKEN not in str(raised.value)
    assert not isinstance(raised.value, SourceUnreachableError)


def test_a_hub_that_goes_away_while_it_is_read(hub: StandInHub, access: HubAccess) -> None:
    hub.commit(REPO, {"small.json": b"{}"})
    source = resolve_source("hf:///small.json", access)
    nowhere = HubAccess(endpoint="http://127.0.0.1:9", cache=access.cache)
    with pytest.raises(SourceUnreachableError, match="can't be reached"):
        fetch(source, access=nowhere)


@pytest.mark.parametrize(("status", "may_pass"), [(503, True), (429, True), (401, False), (404, False)])
def test_a_busy_hub_may_answer_later_and_one_that_refuses_will_not(status: int, may_pass: bool) -> None:
    answer = httpx2.Response(status, request=httpx2.Request("GET", "http://hub/api"))
    with (
        pytest.raises(SourceError, match=f"answers with HTTP {status}") as raised,
        named_hub_errors(HubAddress(REPO, "main", "x"), HubAccess(endpoint="http://hub")),
    ):
        raise HfHubHTTPError("answered", response=answer)
    assert isinstance(raised.value, SourceUnreachableError) is may_pass


def test_two_at_once_download_once(hub: StandInHub, access: HubAccess) -> None:
    content = os.urandom(300_000)
    hub.commit(REPO, {"big.pth": content})
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(get("hf:///big.pth", access).read_bytes())) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [content, content]
    assert len(hub.asked("/cdn/")) == 1


def test_a_resolved_source_survives_as_json(hub: StandInHub, access: HubAccess) -> None:
    hub.commit(REPO, scene_files())
    source = resolve_source("hf:///inference_data", access)
    assert from_plain(type(source), json.loads(json.dumps(to_plain(source)))) == source
    with pytest.raises(ValueError, match=r"can't be read: kind: Field required"):
        from_plain(type(source), {"format": 1})
