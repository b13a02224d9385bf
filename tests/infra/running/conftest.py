"""What is in `infra/`, built and started: `make test-infra`, with root and docker, in minutes; `make test` skips it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.running.bases import Bases
from tests.infra.running.docker import KEEP_VARIABLE, running_docker


@pytest.fixture(scope="session")
def bases() -> Iterator[Bases]:
    """A docker daemon, and stand-ins for the images that can't be pulled."""
    if not os.environ.get("TEST_INFRA"):
        pytest.skip("run by make test-infra")
    folder = Path(tempfile.mkdtemp(prefix="bevformer-bases-", dir="/var/tmp"))
    with running_docker():
        made = Bases(folder)
        try:
            yield made
        finally:
            if not os.environ.get(KEEP_VARIABLE):
                made.remove()
            shutil.rmtree(folder)
