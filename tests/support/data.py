"""Where tests find the real data that is no part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def shared_data() -> Path:
    """Return ``BEVFORMER_TEST_DATA``, or ``../shared/data`` from the project's root."""
    return Path(os.environ.get("BEVFORMER_TEST_DATA", _DEFAULT))


requires_shared_data = pytest.mark.skipif(
    not shared_data().is_dir(),
    reason=f"no test data at {shared_data()}; set BEVFORMER_TEST_DATA to its folder",
)
