"""A micro model and two short synthetic scenes, as files: what a user starts from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bevformer_lib.config.load import load_model_config
from bevformer_lib.model.checkpoint import make_checkpoint
from flows.request import BuildRequest
from tests.support.scenes import write_scenes

MICRO = Path(__file__).parents[1] / "support" / "micro_original.py"


@pytest.fixture(scope="session")
def micro_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``checkpoint.pth`` (random weights) and ``scenes`` (two of four frames); not to be changed."""
    folder = tmp_path_factory.mktemp("inputs")
    make_checkpoint(load_model_config(str(MICRO)), folder / "checkpoint.pth")
    write_scenes(folder / "scenes", num_scenes=2, frames_per_scene=4)
    return folder


@pytest.fixture
def inputs(micro_inputs: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return Path(shutil.copytree(micro_inputs, tmp_path / "inputs"))


def make_request(inputs: Path, store: Path, **changes: object) -> BuildRequest:
    fields: dict[str, object] = {
        "model": str(MICRO),
        "checkpoint": str(inputs / "checkpoint.pth"),
        "scenes": str(inputs / "scenes"),
        "store": str(store),
        "num_samples": 4,
        "converter": "onnxruntime",
    }
    return BuildRequest.model_validate(fields | changes)
