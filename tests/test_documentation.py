"""Every command that the documentation shows, run as shown but with a micro model in place of BEVFormer-Tiny."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cyclopts import CycloptsError

from bevformer_lib.cli.app import make_app
from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from bevformer_lib.training.__main__ import command_line
from flows.cli import commands
from flows.local_server import LocalServer
from tests.support.micro import micro_config
from tests.support.scenes import surround_lidar_to_image
from tests.support.toy_graph import write_toy_graph

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)[^)]*\)")
COMMAND = re.compile(r"(?:[^\n]*<<'(\w+)'\n(?:.*\n)*?\1\n|(?:[^\n]*\\\n)*[^\n]*\n)")
MAKE = re.compile(r"^make (?P<target>[\w-]+)$", re.MULTILINE)

SHIM = """#!{python}
import os, sys
arguments = sys.argv[1:]
if arguments[:1] == ["make-scenes"] and "--model" not in arguments:
    arguments += ["--model", "tiny"]
micro = {micro!r}
arguments = [micro if argument == "tiny" else argument for argument in arguments]
os.execv({python!r}, [{python!r}, "-m", "flows.cli", *arguments])
"""


def commands_of(page: Path) -> str:
    """Return the page's commands in order; `make` is left to the tests of the Makefile."""
    return MAKE.sub("", "".join(FENCE.findall(page.read_text(encoding="utf-8"))))


def history(page: Path) -> tuple[str, ...]:
    """Return the page's commands one by one, each with continuation lines and here-document; requests for help last."""
    found = [match[0] for match in COMMAND.finditer(commands_of(page)) if match[0].strip()]
    return tuple(sorted(found, key=lambda command: "--help" in command))


HISTORIES = {page: history(page) for page in PAGES if history(page)}
SHARED = {
    tuple(one for one, other in itertools.takewhile(lambda both: both[0] == both[1], zip(*pair, strict=False)))
    for pair in itertools.combinations(HISTORIES.values(), 2)
}
"""Beginnings that pages have in common."""


class Reader:
    """Runs the commands of pages in the order in which they stand; what several pages begin with, it runs once."""

    def __init__(self, folder: Path, prefect: Mapping[str, str]) -> None:
        programs = folder / "bin"
        programs.mkdir()
        shim = programs / "bevformer"
        shim.write_text(SHIM.format(python=sys.executable, micro=str(ROOT / "tests" / "support" / "micro_original.py")))
        shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        self._folder = folder
        self._empty = folder / "empty"
        self._empty.mkdir()
        self._reached: dict[tuple[str, ...], Path] = {}
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
            "HOME": str(folder),
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            **prefect,
        }

    def after(self, commands: tuple[str, ...]) -> Path:
        """Return a folder in which these commands were run, one after the other."""
        if commands not in self._reached:
            beginnings = (commands[:length] for length in reversed(range(1, len(commands))))
            begun = next((beginning for beginning in beginnings if beginning in SHARED), ())
            before = self.after(begun) if begun else self._empty
            work = Path(shutil.copytree(before, self._folder / f"work{len(self._reached)}"))
            self._run("".join(commands[len(begun) :]), work)
            self._reached[commands] = work
        return self._reached[commands]

    def _run(self, commands: str, work: Path) -> None:
        script = f"set -euxo pipefail\n{commands}"
        done = subprocess.run(
            ["bash", "-c", script], cwd=work, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, prefect_server: LocalServer) -> Reader:
    return Reader(tmp_path_factory.mktemp("pages"), prefect_server.environment)


@pytest.mark.slow
@pytest.mark.parametrize("page", HISTORIES, ids=lambda page: page.stem)
def test_every_command_of_a_page_works(page: Path, reader: Reader) -> None:
    reader.after(HISTORIES[page])


def test_the_program_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(program.replace("\n\n", "\n").splitlines()) <= 12
    write_toy_graph(tmp_path / "tiny_int8.onnx")
    write_inference_config(inference_config_of(micro_config()), tmp_path / "inference_config.json")
    image, calibration = np.full((96, 160, 3), 90, np.uint8), surround_lidar_to_image((96, 160))
    shown: list[list[dict[str, object]]] = []
    times_us = (0, 500_000, 400_000, 1_000_000)
    car = SimpleNamespace(
        frames=lambda: ((6 * [image], calibration, np.eye(4), time_us) for time_us in times_us), show=shown.append
    )
    monkeypatch.setitem(sys.modules, "car", car)
    monkeypatch.chdir(tmp_path)
    exec(program, {})  # noqa: S102 - the page's own
    assert len(shown) == len(times_us) - 1
    assert shown[0][0].keys() >= {"class", "score", "center_m", "heading_rad", "velocity_mps"}


def shown_commands(page: Path) -> list[list[str]]:
    """Return every `bevformer` command of a page, also of those that need a board, a bucket or a data set."""
    fences = re.findall(r"^```(?:bash|text)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(fences).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("bevformer ")]
    return [words[1:] for words in found if "..." not in words]


@pytest.mark.parametrize("page", [page for page in PAGES if shown_commands(page)], ids=lambda page: page.stem)
def test_every_command_shown_is_one_that_exists(page: Path) -> None:
    app = make_app(commands())
    for words in shown_commands(page):
        if "--help" not in words:
            app.parse_args(words, exit_on_error=False, print_error=False)


def test_a_wrong_option_would_be_noticed() -> None:
    with pytest.raises(CycloptsError):
        make_app(commands()).parse_args(["export", "--no-such-option"], exit_on_error=False, print_error=False)


def test_the_command_for_gpus_is_one_that_exists() -> None:
    """Two GPUs are not at hand; that two processes train one model is tested on the CPU."""
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8").replace("\\\n", " ")
    words = re.findall(r"^python -m bevformer_lib\.training (.*)$", page, re.MULTILINE)
    assert len(words) == 1
    given = command_line().parse_args(shlex.split(words[0]))
    assert (given.config, given.gpus, given.velocity_weight) == ("demo", 2, 4.0)


def test_the_makefile_has_what_the_pages_name() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {match["target"] for page in PAGES for match in MAKE.finditer(page.read_text(encoding="utf-8"))}
    assert {"demo", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_image_of_the_readme_is_made_by_a_command_that_exists() -> None:
    shown = subprocess.run(["make", "-n", "demo-image"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [line] = [line for line in shown.replace("\\\n", " ").splitlines() if "bevformer infer" in line]
    make_app(commands()).parse_args(
        shlex.split(line.split("bin/bevformer ")[1]), exit_on_error=False, print_error=False
    )
    assert "docs/demo.jpg" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in readme] == []
