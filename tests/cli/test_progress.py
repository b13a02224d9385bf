from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from bevformer_lib.cli.progress import _bars, progress_bar


def test_without_a_terminal_a_label_is_a_line_at_its_beginning_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as on_progress:
        for done in range(4):
            on_progress("render", done, 3)
        on_progress("render", 3, 3)
        on_progress("pack", 1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "render: 0/3\nrender: 3/3\n"


def test_a_label_that_starts_again_is_reported_again(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as on_progress:
        for done in (1, 2, 1, 2):
            on_progress("scene", done, 2)
    assert capsys.readouterr().err == "scene: 2/2\nscene: 2/2\n"


def test_an_error_in_the_block_passes_through() -> None:
    with pytest.raises(ValueError, match="from the work"), progress_bar():
        raise ValueError("from the work")


def test_bars_keep_one_task_per_label() -> None:
    progress = Progress(console=Console(file=io.StringIO()), disable=True)
    on_progress = _bars(progress)
    on_progress("decode", 1, 4)
    on_progress("decode", 3, 5)
    on_progress("infer", 0, 5)
    assert [(task.description, task.completed, task.total) for task in progress.tasks] == [
        ("decode", 3, 5),
        ("infer", 0, 5),
    ]
