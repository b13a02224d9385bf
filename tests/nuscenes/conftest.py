from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.nuscenes.devkit import open_dataset
from bevformer_lib.nuscenes.extract import extract_scenes
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.scenes.types import Scene
from tests.support.micro import micro_config


@pytest.fixture(scope="session")
def nuscenes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.nuscenes import write_nuscenes

    return write_nuscenes(tmp_path_factory.mktemp("nuscènes") / "root")


@pytest.fixture(scope="session")
def dataset(nuscenes_root: Path) -> Any:
    return open_dataset(nuscenes_root, "v1.0-mini")


@pytest.fixture(scope="session")
def extracted(nuscenes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.nuscenes import micro_extraction

    output = tmp_path_factory.mktemp("extracted") / "scenes"
    extract_scenes(nuscenes_root, micro_extraction(), output)
    return output


@pytest.fixture(scope="session")
def scenes(extracted: Path) -> tuple[Scene, ...]:
    return read_scenes(extracted, SceneRequirements.of_model(micro_config()))
