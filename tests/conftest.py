from __future__ import annotations

import signal

import pytest

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


def pytest_configure() -> None:
    """Let what tests start be interrupted, also where they run in the background of a shell, which ignores SIGINT."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow modules' tests."""
    for item in items:
        if item.nodeid.startswith(SLOW_MODULES):
            item.add_marker(pytest.mark.slow)
