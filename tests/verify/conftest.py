from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bevformer_lib.export.onnx_export import export_onnx
from bevformer_lib.model.checkpoint import make_checkpoint
from tests.standins import openmmlab
from tests.standins.openmmlab.detector import Planted
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes

STANDIN = Path(openmmlab.__file__).parent
CONFIG = STANDIN / "micro_bevformer.py"
IMAGE_SIZE = "96x160"

_PLUGIN = """
from tests.standins.openmmlab.detector import register
from tests.support.micro import micro_config

register(micro_config(), {planted!r})
"""

MakePlugin = Callable[..., Path]


def _forget_openmmlab() -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in ("mmcv", "mmdet", "mmseg", "mmdet3d", "projects"):
            del sys.modules[name]


@pytest.fixture
def openmmlab_standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the stand-in packages on the path, as if OpenMMLab were installed."""
    _forget_openmmlab()
    monkeypatch.syspath_prepend(STANDIN / "site")
    yield
    _forget_openmmlab()


@pytest.fixture
def make_plugin(tmp_path: Path) -> MakePlugin:
    """Write a stand-in for the original's plugin, with a divergence if wanted, and return its folder."""

    def make(planted: Planted | None = None, *, code: str | None = None) -> Path:
        folder = tmp_path / "original" / "projects" / "mmdet3d_plugin"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(_PLUGIN.format(planted=planted) if code is None else code)
        return folder.parent

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "micro.pth"
    make_checkpoint(micro_config(), path, seed=3)
    return path


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"), num_scenes=2, frames_per_scene=3)


@pytest.fixture(scope="session")
def micro_graph(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The micro model's exported graph."""
    path = tmp_path_factory.mktemp("graph") / "micro.onnx"
    export_onnx(micro_config(), checkpoint, path, target="AX650")
    return path
