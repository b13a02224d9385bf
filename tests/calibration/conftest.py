from __future__ import annotations

import pytest

from tests.support.calibration import ToyWorld, make_toy_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy world"))
