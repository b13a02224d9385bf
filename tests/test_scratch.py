from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bevformer_lib.errors import BevformerError
from bevformer_lib.scratch import remove_abandoned, scratch_folder, temporary_folder

_HOLD = """
import sys, time
from pathlib import Path
from bevformer_lib.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""

_DIE = """
import os, signal
from bevformer_lib.scratch import temporary_folder
with temporary_folder() as folder:
    (folder / "model").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_removed_however_the_block_ends(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"), scratch_folder(tmp_path) as folder:
        (folder / "file").write_text("x")
        raise ValueError("boom")
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_dead_processes_are_removed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with scratch_folder(tmp_path) as mine:
            assert remove_abandoned(tmp_path) == 0
            assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
            process.kill()
            process.wait()
            assert remove_abandoned(tmp_path) == 1
            assert mine.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_remove(tmp_path: Path) -> None:
    assert remove_abandoned(tmp_path / "absent") == 0


def test_a_lock_whose_process_died_before_it_made_the_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "49defb6901df48968006f1a134b5de8a.lock").touch()
    assert remove_abandoned(tmp_path) == 0
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_in_the_temporary_folder_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", _DIE], env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    [model] = tmp_path.glob("*/*/model")
    (tmp_path / "bevformer-results").mkdir()
    with temporary_folder() as mine:
        assert not model.parent.exists()
        assert mine.parent == model.parents[1]
        assert mine.parent.stat().st_mode & 0o777 == 0o700
        with temporary_folder():
            assert mine.is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"bevformer-results", f"bevformer-{os.getuid()}"}
    assert list(tmp_path.glob("*/*")) == []


def test_a_place_that_another_user_took_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"bevformer-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BevformerError, match="TMPDIR"), temporary_folder():
        pass
