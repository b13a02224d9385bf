"""The packages that read and write recordings, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bevformer_lib.errors import MissingPackageError


def import_for_recordings(module: str) -> Any:
    """Return a module of the packages ``mcap``, ``mcap_ros2`` or ``mcap_protobuf``, or of what they bring.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"recordings need a package that is not installed ({error}); install it with 'pip install "
            "bevformer-axera[mcap]' (or 'pip install mcap mcap-ros2-support mcap-protobuf-support')"
        ) from error
