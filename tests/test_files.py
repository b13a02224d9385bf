from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bevformer_lib.cli.app import run
from bevformer_lib.errors import OutputError
from bevformer_lib.files import (
    atomic_path,
    require_new_file,
    require_writable_file,
    require_writable_folder,
    write_json,
)


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "content").touch()
    with pytest.raises(OSError, match="directory") as caught:
        write_json(tmp_path / "name", {})
    assert caught.value.filename == str(tmp_path / "name")
    assert "partial" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_an_error_inside_a_folder_names_the_final_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "scene") as folder:
        folder.mkdir()
        (folder / "missing" / "image.png").write_bytes(b"")
    assert caught.value.filename == str(tmp_path / "scene" / "missing" / "image.png")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_and_other_errors_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as full, atomic_path(tmp_path / "graph.onnx"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert full.value.filename == str(tmp_path / "graph.onnx")
    with pytest.raises(OSError, match="Connection reset") as other, atomic_path(tmp_path / "graph.onnx"):
        raise OSError(errno.ECONNRESET, "Connection reset by peer")
    assert other.value.filename is None
    with pytest.raises(OSError, match="other") as input_file, atomic_path(tmp_path / "graph.onnx"):
        (tmp_path / "other").read_bytes()
    assert input_file.value.filename == str(tmp_path / "other")


def test_the_command_line_says_what_to_do_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "command_on_full_disk.py"
    module.write_text(
        "import errno\nfrom pathlib import Path\nfrom bevformer_lib.files import atomic_path\n\n\n"
        "def command(output: Path, /) -> None:\n    with atomic_path(output):\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run({"fill": ("command_on_full_disk", "Fill.")}, ["fill", str(tmp_path / "x.onnx")]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"error: {tmp_path / 'x.onnx'}: No space left on device; free some space, or choose another place, "
        "and run it again\n"
    )


def test_places_that_can_be_written_are_accepted_and_left_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    require_writable_folder(tmp_path / "a" / "b")
    require_writable_file(Path("graph.onnx"))
    require_new_file(Path("a/b.json"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "graph.onnx").touch()
    require_writable_file(tmp_path / "graph.onnx")


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match=r"file/out/x: .*file is a file, not a folder; choose another"):
        require_writable_folder(file / "out" / "x")
    with pytest.raises(OutputError, match="is a folder; name a file"):
        require_writable_file(tmp_path)
    with pytest.raises(OutputError, match="file exists already"):
        require_new_file(file)
    with pytest.raises(OutputError, match=r"/proc/none: can't be written to .*choose another output"):
        require_writable_file(Path("/proc/none/graph.onnx"))
