from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bevformer_lib.store.scratch import remove_abandoned, scratch_folder

_HOLD = """
import sys, time
from pathlib import Path
from bevformer_lib.store.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
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
