"""The software that decides a step's outputs: versions of packages, digests of this product's own code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Final

_DIGEST_LETTERS: Final = 12
_SOURCES: Final = frozenset({".py", ".html", ".css"})
_VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Package -> the distributions that may provide it; their arithmetic is meant to be the same."""


def software(*, packages: tuple[str, ...] = (), code: tuple[str, ...] = ()) -> dict[str, str]:
    """Return package -> version and module -> digest of its source; what is not installed is "not installed".

    Args:
        packages: names of distributions.
        code: modules of this product. A package stands for the modules directly in it, not for packages below it.
    """
    return {**{name: _version(name) for name in packages}, **{name: _code_digest(name) for name in code}}


def _version(package: str) -> str:
    for distribution in _VARIANTS.get(package, (package,)):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


@cache
def _code_digest(module: str) -> str:
    """Digest the source of a module, of a package with its templates, found without importing it."""
    spec = util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    origin = Path(spec.origin)
    beside = sorted(path for path in origin.parent.iterdir() if path.suffix in _SOURCES)
    files = beside if spec.submodule_search_locations else [origin]
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{file.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:_DIGEST_LETTERS]
