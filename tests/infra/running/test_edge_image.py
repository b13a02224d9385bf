"""The board's image, built by its Dockerfile for aarch64 and run: this machine executes it with qemu, slowly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from bevformer_lib.export.onnx_export import export_onnx
from bevformer_lib.model.checkpoint import make_checkpoint
from tests.infra.files import INFRA, ROOT
from tests.infra.running.bases import PYTHON_ARM64, Bases
from tests.infra.running.binfmt import aarch64_programs
from tests.infra.running.docker import KEEP_VARIABLE, docker, say
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.test_python_310 import IMPORT_ALL

IMAGE = "bevformer-edge:test-infra"
CONTAINER = "bevformer-test-infra-edge"
DOCKERFILE = INFRA / "docker" / "edge.Dockerfile"
INFER = ("model.onnx", "inference_config.json", "scenes", "--score-thr", "0.01", "--no-images", "--no-video")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The micro model's graph, its configuration and a scene."""
    folder = tmp_path_factory.mktemp("given")
    make_checkpoint(micro_config(), folder / "checkpoint.pth", seed=3)
    export_onnx(micro_config(), folder / "checkpoint.pth", folder / "model.onnx", target="AX650")
    write_inference_config(inference_config_of(micro_config()), folder / "inference_config.json")
    write_scenes(folder / "scenes", num_scenes=1, frames_per_scene=2)
    folder.chmod(0o755)  # the image's user is another one
    return folder


@pytest.fixture(scope="module")
def board(bases: Bases, given: Path) -> Iterator[None]:
    """A container of the image, which waits for commands."""
    with aarch64_programs():
        bases.make(PYTHON_ARM64)
        started = time.monotonic()
        # What differs from the published build: the base, which can't be pulled, and AXEngine, whose stand-in is in it.
        first = f"FROM {PYTHON_ARM64}\n"
        text, found = re.subn(r"^FROM .*\n", first, DOCKERFILE.read_text(), flags=re.MULTILINE)
        assert found == 1
        wheel = "AXENGINE_WHEEL=/opt/wheels/axengine-0.1.0-py3-none-any.whl"
        command = ("build", "--build-arg", wheel, "--tag", IMAGE, "--file", "-", ROOT)
        docker(*command, given=text)
        say(f"the board's image: {time.monotonic() - started:.0f} s")
        try:
            mounts = ("--volume", f"{given}:/given:ro", "--workdir", "/given")
            run = ("run", "--detach", "--init", "--name", CONTAINER, *mounts)
            docker(*run, IMAGE, "sleep", "infinity")
            yield
        finally:
            docker("rm", "--force", "--volumes", CONTAINER)
            if not os.environ.get(KEEP_VARIABLE):
                docker("rmi", IMAGE)


def on_board(*command: str, user: str = "1000") -> str:
    return docker("exec", "--user", user, CONTAINER, *command)


def detections(folder: Path) -> list[dict[str, Any]]:
    [written] = folder.glob("*/detections.json")
    return [box for frame in json.loads(written.read_text())["frames"] for box in frame["boxes"]]


def test_it_is_for_the_boards_processor_and_runs_as_nobody_special(board: None) -> None:
    assert on_board("uname", "-m").strip() == "aarch64"
    assert docker("exec", CONTAINER, "id", "--user").strip() == "1000"


def test_everything_that_it_holds_is_imported_and_its_commands_start(board: None) -> None:
    assert on_board("sh", "-c", f"cd /app && python -c '{IMPORT_ALL.replace(chr(39), chr(34))}'") == "\n"
    assert "doctor" in on_board("bevformer", "--help")
    assert "--pool" in on_board("prefect", "worker", "start", "--help")


def test_doctor_misses_the_npu_and_the_server_and_nothing_else(board: None) -> None:
    checked = on_board("sh", "-c", "COLUMNS=200 bevformer doctor --role edge; test $? = 1")
    say(checked)


def test_a_scene_gives_what_it_gives_on_this_machine(board: None, given: Path, tmp_path: Path) -> None:
    """ONNX Runtime stands for the NPU: reading, geometry, memory and decoding are the board's own."""
    program = str(Path(sys.executable).with_name("bevformer"))
    subprocess.run([program, "infer", *INFER, "--output-dir", tmp_path / "here"], cwd=given, check=True)
    # 1.20.1: importing the newest one for aarch64 crashes in qemu 7.2.
    on_board("pip", "install", "--quiet", "--no-cache-dir", "onnxruntime==1.20.1", user="0")
    started = time.monotonic()
    on_board("bevformer", "infer", *INFER, "--output-dir", "/tmp/there")
    say(f"two frames of the micro model under qemu: {time.monotonic() - started:.0f} s")
    docker("cp", f"{CONTAINER}:/tmp/there", tmp_path)
    here, there = detections(tmp_path / "here"), detections(tmp_path / "there")
    assert len(here) > 10
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert one["class"] == other["class"]
        assert [other["score"], *other["box"]] == pytest.approx([one["score"], *one["box"]], abs=1e-3)
