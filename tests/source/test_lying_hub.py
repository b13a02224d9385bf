"""A hub or a mirror that lies: nothing outside the cache is written, deleted or read, whatever it lists."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bevformer_lib.errors import SourceError
from bevformer_lib.plain_data import from_plain
from bevformer_lib.source.hub_access import HubAccess
from bevformer_lib.source.open import fetch, resolve_source
from bevformer_lib.source.resolved import ResolvedSource
from tests.standins.hub.server import StandInHub, running_hub

REPO = "AXERA-TECH/bevformer"
FILES = {"scenes/a.json": b"{}", "scenes/b/c.bin": bytes(range(256)) * 8}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no token"))
    with running_hub() as running:
        running.commit(REPO, FILES)
        yield running


def access_of(hub: StandInHub, tmp_path: Path) -> HubAccess:
    return HubAccess(endpoint=hub.endpoint, cache=tmp_path / "home" / "hf" / "hub")


def outside(tmp_path: Path) -> dict[str, bytes | None]:
    """Return all that lies around the two caches, with content."""
    inside = (tmp_path / "home" / "hf" / "hub", tmp_path / "ours")
    found = [path for path in tmp_path.rglob("*") if not any(path.is_relative_to(cache) for cache in inside)]
    return {str(path): path.read_bytes() if path.is_file() else None for path in found}


def plant(tmp_path: Path) -> dict[str, bytes | None]:
    for name in ("victim", "home/victim", "home/hf/victim", "a.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"precious")
    return outside(tmp_path)


def lie_about(key: str, value: object) -> Callable[[Any], Any]:
    """Return a lie: every file that is listed, or the commit, has another value."""

    def lie(answer: Any) -> Any:
        if isinstance(answer, dict):
            return {**answer, key: value} if key == "sha" else answer
        return [{**entry, key: value} if entry["type"] == "file" else entry for entry in answer]

    return lie


LIES = [
    ("path", "scenes/../../../../../../victim"),
    ("path", "scenes/../../../../../victim"),
    ("path", "../victim"),
    ("path", "/etc/passwd"),
    ("path", "scenes/"),
    ("path", "scenes/."),
    ("path", "scenes//a.json"),
    ("path", "scenes/x\\..\\y"),
    ("path", "scenes/a\0b"),
    ("path", "scenes/" + "x" * 300),
    ("path", "scenes/\ud800"),
    ("path", None),
    ("path", 5),
    ("oid", "../../../../../victim"),
    ("oid", ""),
    ("oid", None),
    ("oid", "A" * 40),
    ("lfs", {"oid": "../../../../victim", "size": 2, "pointerSize": 1}),
    ("lfs", 7),
    ("size", -1),
    ("size", "2"),
    ("size", 1e300),
    ("size", True),
    ("type", "other"),
    ("sha", "../../x"),
    ("sha", "../../../../home/x"),
    ("sha", ""),
    ("sha", "main"),
    ("sha", 7),
]


@pytest.mark.parametrize(("key", "value"), LIES, ids=[f"{key}-{str(value)[:24]!a}" for key, value in LIES])
def test_a_lie_is_refused_and_touches_nothing(hub: StandInHub, tmp_path: Path, key: str, value: object) -> None:
    before = plant(tmp_path)
    hub.lie = lie_about(key, value)
    access = access_of(hub, tmp_path)
    for _ in range(2):  # what the first fetch left behind misled the second
        with pytest.raises(SourceError, match="hf://"):
            fetch(resolve_source("hf:///scenes", access), access=access)
        assert outside(tmp_path) == before


@pytest.mark.parametrize("answer", [[], {}, None, "text", 5, [[]], [None], {"sha": []}])
def test_an_answer_that_is_no_listing_is_an_error(hub: StandInHub, tmp_path: Path, answer: object) -> None:
    hub.lie = lambda _: answer
    with pytest.raises(SourceError, match="hf://"):
        resolve_source("hf:///scenes", access_of(hub, tmp_path))


def test_headers_name_no_files(hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server says in ``ETag`` and ``X-Repo-Commit`` was once a name in the cache."""
    before = plant(tmp_path)
    commit = hub.repos[REPO].refs["main"]
    monkeypatch.setattr("tests.standins.hub.server.git_sha1", lambda content: "../../../../victim")
    hub.lie = lambda answer: (
        answer
        if isinstance(answer, dict)
        else [{**entry, "oid": "9e26dfeeb6e641a33dae4961196235bdb965b21b"} for entry in answer]
    )
    access = access_of(hub, tmp_path)
    path = fetch(resolve_source("hf:///scenes/a.json", access), access=access)
    assert path.read_bytes() == b"{}"
    assert path.parent.parent.name == commit
    assert outside(tmp_path) == before


def test_a_file_longer_than_listed_does_not_fill_the_disk(hub: StandInHub, tmp_path: Path) -> None:
    hub.alter = lambda path, content: content * 5000
    access = access_of(hub, tmp_path)
    with pytest.raises(SourceError, match="sends another size than 2048 bytes"):
        fetch(resolve_source("hf:///scenes/b/c.bin", access), access=access)
    assert not list(access.cache_folder.rglob("*.incomplete"))


PARTS = st.sampled_from(["..", ".", "", "a", "victim", "~", "blobs", "\\", "C:", "scenes", "a.json"])
PATHS = st.one_of(st.text(max_size=12), st.lists(PARTS, max_size=9).map("/".join))
DIGESTS = st.one_of(PATHS, st.text("0123456789abcdef", min_size=38, max_size=66))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=st.lists(PATHS, min_size=1, max_size=3), oid=st.none() | DIGESTS, commit=st.none() | DIGESTS)
def test_no_listing_reaches_outside_the_cache(
    hub: StandInHub, tmp_path: Path, paths: list[str], oid: str | None, commit: str | None
) -> None:
    before = plant(tmp_path)

    def lie(answer: Any) -> Any:
        if isinstance(answer, dict):
            return answer if commit is None else {**answer, "sha": commit}
        files = [entry for entry in answer if entry["type"] == "file"]
        return answer + [{**file, "path": path, "oid": oid or file["oid"]} for file in files for path in paths]

    hub.lie = lie
    access = access_of(hub, tmp_path)
    for address in ("hf:///scenes", "hf://"):
        with contextlib.suppress(SourceError):
            fetch(resolve_source(f"{address}/" if address == "hf://" else address, access), access=access)
    assert outside(tmp_path) == before


@given(place=PATHS, path=PATHS, blob=DIGESTS, commit=DIGESTS)
def test_no_source_that_can_be_made_names_a_file_outside(place: str, path: str, blob: str, commit: str) -> None:
    files = [{"path": path, "size": 1, "blob": blob}]
    told = {"kind": "hub", "place": place, "is_folder": True, "files": files}
    with contextlib.suppress(SourceError):
        source = from_plain(ResolvedSource, {**told, "repo": REPO, "revision": "main", "commit": commit})
        root = Path("/cache")
        for name in (Path(str(source.commit), source.place, path), Path(blob)):
            assert ".." not in name.parts
            assert (root / name).is_relative_to(root)
