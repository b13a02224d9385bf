"""The software that decides a step's outputs: versions of packages, digests of our code that it runs with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Final

from bevformer_lib.pipeline.closure import code_of

_VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Package -> the distributions that may provide it; their arithmetic is meant to be the same."""


def software(*modules: str, packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Return package -> version and module -> digest of its code; what is not installed is "not installed".

    Args:
        modules: that do the work: the step's own, and those of the backends that it was told to use. All that they
            import is in the result too; see :func:`~bevformer_lib.pipeline.closure.code_of`.
        packages: names of distributions.
    """
    return {**{name: _version(name) for name in packages}, **code_of(*modules)}


def _version(package: str) -> str:
    for distribution in _VARIANTS.get(package, (package,)):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"
