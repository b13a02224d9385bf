"""`bevformer build` as a user runs it: a process of its own, a real Prefect server, real interruptions."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bevformer_lib.store.base import RUNS
from bevformer_lib.store.folder import FolderStore
from flows.local_server import LocalServer
from tests.flows.conftest import MICRO
from tests.support.prefect_server import copy_home

SECONDS = 300.0


class Build:
    """Runs `bevformer build` on the micro inputs, in an environment without Prefect settings and with its own home.

    Attributes:
        settings: of Prefect, for tests that do not ask how the build's own server behaves.
    """

    def __init__(self, inputs: Path, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.inputs = inputs
        self.store = folder / "store"
        self.home = folder / "home"
        self.home.mkdir()
        self.settings = settings or {}

    def command(self, *more: str, num_samples: int = 4) -> list[str]:
        return [
            *(sys.executable, "-m", "flows.cli", "build", "--model", str(MICRO)),
            *("--checkpoint", str(self.inputs / "checkpoint.pth"), "--scenes", str(self.inputs / "scenes")),
            *("--store", str(self.store), "--num-samples", str(num_samples), *more),
        ]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return kept | {"HOME": str(self.home), "COLUMNS": "200"} | self.settings

    def run(self, *more: str, num_samples: int = 4) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*more, num_samples=num_samples),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def start(self, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*more), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def servers(self) -> list[int]:
        """Processes that serve Prefect from this store."""
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                try:
                    environment = (process / "environ").read_bytes()
                    arguments = (process / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"local_server_process" in arguments and str(self.store).encode() in environment:
                    found.append(int(process.name))
        return found

    def kinds(self) -> tuple[str, ...]:
        """Kinds of the steps that were done; that somebody tried is recorded too."""
        found = FolderStore(self.store).list_kinds() if self.store.is_dir() else ()
        return tuple(kind for kind in found if kind != RUNS)


@pytest.fixture
def build(inputs: Path, migrated_home: Path, tmp_path: Path) -> Iterator[Build]:
    """With a Prefect server of its own."""
    build = Build(inputs, tmp_path)
    FolderStore(build.store)
    copy_home(migrated_home, build.store / "prefect")
    yield build
    for process in build.servers():
        os.kill(process, signal.SIGKILL)


@pytest.fixture
def on_server(inputs: Path, prefect_server: LocalServer, tmp_path: Path) -> Build:
    """On a Prefect server that runs already."""
    return Build(inputs, tmp_path, prefect_server.environment)


def wait_for(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_build_and_then_nothing_to_do(build: Build) -> None:
    first = build.run()
    assert first.returncode == 0, first.stderr
    assert "20 of 20 steps done" in first.stdout
    report = Path(first.stdout.split("report: ")[1].strip())
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert re.search(r"│ mAP │ +\d\.\d{3} │ +\d\.\d{3} │ +\d\.\d{3} │", first.stdout), first.stdout
    assert "evaluate scene-0001: 4/4" in first.stderr  # progress
    assert not build.servers()
    assert not (build.home / ".prefect").exists()

    second = build.run()
    assert second.returncode == 0, second.stderr
    assert "nothing to do: nothing changed" in second.stdout
    assert len(list((build.store / "logs").iterdir())) == 1  # Prefect was not started again

    third = build.run(num_samples=5)
    assert third.returncode == 0, third.stderr
    assert "num_samples changed 4 -> 5" in third.stdout
    [line] = [line for line in third.stdout.splitlines() if " export " in line]
    assert " no " in line


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_build_that_was_cut_off_is_carried_on(build: Build, signal_number: signal.Signals) -> None:
    process = build.start("--converter", "onnxruntime")
    wait_for(lambda: "calibration" in build.kinds() or process.poll() is not None, "calibration")
    process.send_signal(signal_number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if signal_number == signal.SIGINT else -signal.SIGKILL), stderr
    if signal_number == signal.SIGINT:
        assert "finished work is kept" in stderr
        assert "Traceback" not in stderr
    wait_for(lambda: not build.servers(), "the end of the server")
    assert "report" not in build.kinds()

    again = build.run("--converter", "onnxruntime")
    assert again.returncode == 0, again.stderr
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in again.stdout.splitlines() if "│" in line}
    assert rows["export"] == "no"
    assert rows["calibration"] == "no"
    assert rows["report"] == "yes"
    assert not list((build.store / "scratch").iterdir())


@pytest.mark.slow
def test_bad_input_is_one_clear_error(on_server: Build) -> None:
    image = on_server.inputs / "scenes" / "scene-0001" / "cam_03_000002.png"
    image.write_bytes(image.read_bytes()[:100])
    failed = on_server.run()
    assert failed.returncode == 1
    assert str(image) in failed.stderr
    assert "Traceback" not in failed.stderr
    assert on_server.kinds() == ()


@pytest.mark.slow
def test_a_checkpoint_with_code_is_refused_and_not_run(on_server: Build) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {on_server.home}/owned",)

    (on_server.inputs / "checkpoint.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    failed = on_server.run()
    assert failed.returncode == 1
    assert "checkpoint.pth" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (on_server.home / "owned").exists()
    assert on_server.kinds() == ("check-scenes",)


@pytest.mark.slow
def test_a_build_that_fails_its_gates_fails_and_shows_why(on_server: Build, tmp_path: Path) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("name: strict\ngates: [fidelity.bev_embed.cosine >= 0.99999]")
    asked = [*on_server.command(), "--policy", str(policy), "--publish"]
    for steps in ("20 of 20 steps done", "nothing to do: nothing changed"):
        failed = subprocess.run(
            asked, env=on_server.environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert failed.returncode == 1, failed.stderr
        assert steps in failed.stdout
        assert "error: build" in failed.stderr and "Traceback" not in failed.stderr
        assert "fidelity.bev_embed.cosine is 0.999" in failed.stderr and "worst in scene scene-000" in failed.stderr
        report = Path(failed.stderr.rsplit("report: ", 1)[1].strip())
        assert "Not good enough to publish" in report.read_text(encoding="utf-8")
        assert not [kind for kind in on_server.kinds() if kind.startswith("aliases")]
