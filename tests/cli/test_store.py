from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.plain_data import to_plain
from bevformer_lib.store.aliases import set_alias
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.open import open_store
from bevformer_lib.store.run import run_step
from bevformer_lib.store.step import Step, StepRecord
from tests.support.commands import bevformer
from tests.support.s3_server import running_s3_server


@pytest.fixture(scope="module", params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store with a published build, an alias and a step that nothing needs."""
    root = tmp_path_factory.mktemp("Lager")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEVFORMER_CACHE", str(root / "cache"))
        if request.param == "folder":
            fill(str(root / "store"))
            yield str(root / "store")
            return
        with running_s3_server(root / "swift") as server:
            for name, value in server.environment().items():
                patch.setenv(name, value)
            uri = f"s3://{server.make_bucket('bucket')}/night"
            fill(uri)
            yield uri


def fill(address: str) -> None:
    store = open_store(address)
    model = do(store, "export", "model.onnx")
    report = do(store, "report", "report/index.html")
    do(store, "forgotten", "old.bin")
    outputs = {"model/model.onnx": to_plain(model.output("model.onnx"))}
    store.put_record("builds", "b1d5" * 4, {"steps": [model.identity, report.identity], "outputs": outputs})
    set_alias(store, "latest", "b1d5" * 4)


def do(store: Any, name: str, path: str) -> StepRecord:
    def produce(folder: Path) -> Mapping[str, Any]:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(f"content of {name}")
        return {}

    return run_step(store, Step(name, 1, {}), produce).record


def test_ls(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("store", "ls", address) == 0
    out = capsys.readouterr().out
    assert "latest -> b1d5b1d5b1d5b1d5" in out
    assert "3 objects, 0.0 MB" in out
    assert bevformer("store", "ls", address, "builds") == 0
    assert "builds/b1d5b1d5b1d5b1d5" in capsys.readouterr().out
    assert bevformer("store", "ls", address, "absent") == 1
    assert "holds no records of kind absent; there are: aliases, builds, export" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["latest", "b1d5b1d5b1d5b1d5", "b1d5b1d5", "builds/b1d5b1d5b1d5b1d5"])
def test_get_a_build(address: str, what: str, tmp_path: Path) -> None:
    assert bevformer("store", "get", address, what, "--output", tmp_path / "out") == 0
    assert (tmp_path / "out" / "model" / "model.onnx").read_text() == "content of export"


def test_get_a_step_or_an_object(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(address)
    key = store.list_records("report")[0]
    assert bevformer("store", "get", address, f"report/{key}", "--output", tmp_path / "step") == 0
    assert (tmp_path / "step" / "report" / "index.html").read_text() == "content of report"

    content = store.get_record("report", key)
    assert content is not None
    sha256 = content["outputs"]["report/index.html"]["sha256"]
    for _ in range(2):
        assert bevformer("store", "get", address, sha256[:8], "--output", tmp_path / "page.html") == 0
    assert (tmp_path / "page.html").read_text() == "content of report"
    (tmp_path / "page.html").write_text("mine")
    assert bevformer("store", "get", address, sha256, "--output", tmp_path / "page.html") == 1
    assert bevformer("store", "get", address, "latest", "--output", tmp_path / "step") == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "page.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("newest", "'newest' is no alias (there are: latest) and no build"),
        ("export/absent", "holds no record export/absent"),
        ("ffffff", "ffffff: no build and no object begins so"),
    ],
)
def test_get_what_is_not_there(
    address: str, what: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bevformer("store", "get", address, what, "--output", tmp_path / "out") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_verify(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("store", "verify", address) == 0
    assert "intact: 3 objects" in capsys.readouterr().out


def test_verify_names_broken_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(str(tmp_path))
    store = FolderStore(tmp_path)
    broken = sorted(entry.sha256 for entry in store.list_objects())[:2]
    for sha256 in broken:
        store.get_object(sha256).chmod(0o644)
        store.get_object(sha256).write_text("rotten")
    assert bevformer("store", "verify", tmp_path) == 1
    error = capsys.readouterr().err
    assert "2 defects in 3 objects" in error
    assert all(f"{sha256}: the object is corrupted" in error for sha256 in broken)


def test_gc_tells_first_and_removes_when_asked(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer("store", "gc", address) == 0
    assert "nothing to remove" in capsys.readouterr().out
    _make_old(address)
    assert bevformer("store", "gc", address, "--grace-hours", "0") == 0
    out = capsys.readouterr().out
    assert "would remove: 0 builds, 1 records and 1 objects" in out
    assert "record forgotten/" in out
    assert bevformer("store", "gc", address, "--grace-hours", "0", "--delete") == 0
    assert "removed: 0 builds, 1 records and 1 objects" in capsys.readouterr().out
    assert "forgotten" not in open_store(address).list_kinds()
    assert bevformer("store", "verify", address) == 0


def _make_old(address: str) -> None:
    """Wait until a server that rounds its times up to the second holds all to be in the past."""
    import time

    if address.startswith("s3://"):
        time.sleep(1.5)


def test_a_store_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("ls",), ("verify",), ("gc",)):
        assert bevformer("store", *command, tmp_path / "absent") == 1
    assert capsys.readouterr().err.count("not a store") == 3
    assert bevformer("store", "ls", "gs://bucket") == 1
    assert "gs://...: not a store; give a folder" in capsys.readouterr().err
    assert bevformer("store", "gc", tmp_path, "--keep-builds", "-1") == 2
