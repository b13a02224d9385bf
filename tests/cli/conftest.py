from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
from tests.support.calibration import ToyWorld, make_toy_world
from tests.support.micro import micro_config


@pytest.fixture(scope="session")
def toy_world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy wörld"))


@pytest.fixture(scope="session")
def config_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "inference_config.json"
    write_inference_config(inference_config_of(micro_config()), path)
    return path
