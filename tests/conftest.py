from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.shared import shared_folder

if TYPE_CHECKING:
    from flows.local_server import LocalServer

SLOW_MODULES = (
    "tests/benchmarks/",
    "tests/export/test_custom_models.py",
    "tests/export/test_golden.py",
    "tests/export/test_intermediate_outputs.py",
    "tests/export/test_onnx_export.py",
    "tests/export/test_parity.py",
    "tests/export/test_trace.py",
    "tests/flows/test_build_command.py",
    "tests/flows/test_chain.py",
    "tests/flows/test_gates.py",
    "tests/flows/test_night_build.py",
    "tests/flows/test_on_a_board.py",
    "tests/flows/test_publish.py",
    "tests/pulsar2/test_converter.py",
    "tests/pulsar2/test_standins.py",
    "tests/pulsar2/test_stopping.py",
    "tests/source/test_hub.py",
    "tests/store/test_s3.py",
    "tests/synthetic_scenes/test_make.py",
    "tests/synthetic_scenes/test_render.py",
    "tests/test_documentation.py",
    "tests/verify/test_verify.py",
)
"""Modules that start servers or processes, export graphs or render scenes all through: left out by `make test-fast`."""

LONGEST_MODULES = (
    "tests/flows/test_night_build.py",
    "tests/test_documentation.py",
    "tests/flows/test_build_command.py",
    "tests/benchmarks/test_planted_faults.py",
    "tests/flows/test_gates.py",
    "tests/export/test_custom_models.py",
)
"""Modules of a minute or more: they start first, so that no worker is left alone with one at the end."""


def pytest_configure() -> None:
    """Let what tests start be interrupted, also where they run in the background of a shell, which ignores SIGINT."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow modules' tests, and put the longest first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST_MODULES))
    for item in items:
        if item.nodeid.startswith(SLOW_MODULES):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of Prefect with an empty database that needs no migration; to be copied."""
    from tests.support.prefect_server import migrate

    return shared_folder(tmp_path_factory, "prefect", migrate)


@pytest.fixture(scope="session")
def prefect_server(migrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A running server, for tests that do not ask how it is started."""
    from tests.support.prefect_server import copy_home, running_server

    with running_server(copy_home(migrated_home, tmp_path_factory.mktemp("server") / "prefect")) as server:
        yield server
