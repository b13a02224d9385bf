"""Where a graph comes from, carried in the file itself (``metadata_props``).

There is no time stamp and no path among it: the same checkpoint and configuration give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import onnx

from bevformer_lib.errors import ExportError
from bevformer_lib.onnx_file import load_onnx

_PREFIX: Final = "bevformer."
_VERSION_PREFIX: Final = "version."

PACKAGES: Final = ("bevformer-axera", "torch", "onnx", "onnxsim", "onnxruntime")
"""Packages whose versions are recorded: what the graph and its parity check depend on."""

_VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Package -> the distributions that may provide it."""


@dataclass(frozen=True)
class Provenance:
    """What a graph was made from, and with what.

    Attributes:
        checkpoint_name: file name of the checkpoint, without folders.
        config_digest: digest of everything in it but the name.
        image_hw: image size (height, width) in pixels that the graph takes.
        exporter: which exporter made the raw graph.
        versions: package -> version.
    """

    checkpoint_name: str
    checkpoint_sha256: str
    config_name: str
    config_digest: str
    image_hw: tuple[int, int]
    opset: int
    exporter: str
    versions: Mapping[str, str]


def package_versions() -> dict[str, str]:
    """Return the installed versions of :data:`PACKAGES`; those that are not installed are left out."""
    versions = {}
    for package in PACKAGES:
        for distribution in _VARIANTS.get(package, (package,)):
            try:
                versions[package] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            break
    return versions


def write_provenance(model: onnx.ModelProto, provenance: Provenance) -> None:
    """Replace, in place, a graph's metadata with its provenance."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {f"{_PREFIX}{key}": value for key, value in _to_strings(provenance).items()})


def read_provenance(path: Path) -> Provenance:
    """Return the provenance that a graph carries.

    Raises:
        ExportError: the file can't be read as ONNX, or carries no provenance.
    """
    try:
        model = load_onnx(path, external=False)
    except OSError as error:
        raise ExportError(f"{path} can't be read ({error.strerror or error}); check the path") from error
    except ValueError as error:
        raise ExportError(f"{path} {error}") from error
    return provenance_of({entry.key: entry.value for entry in model.metadata_props}, source=str(path))


def provenance_of(properties: Mapping[str, str], *, source: str) -> Provenance:
    """Return the provenance held in a graph's metadata.

    Raises:
        ExportError: an entry is missing or damaged.
    """
    given = {key.removeprefix(_PREFIX): value for key, value in properties.items() if key.startswith(_PREFIX)}
    try:
        height, width = (int(size) for size in given["image_hw"].split("x"))
        return Provenance(
            checkpoint_name=given["checkpoint_name"],
            checkpoint_sha256=given["checkpoint_sha256"],
            config_name=given["config_name"],
            config_digest=given["config_digest"],
            image_hw=(height, width),
            opset=int(given["opset"]),
            exporter=given["exporter"],
            versions={
                key.removeprefix(_VERSION_PREFIX): value
                for key, value in given.items()
                if key.startswith(_VERSION_PREFIX)
            },
        )
    except KeyError as error:
        raise ExportError(
            f"{source} does not say where it comes from: its metadata lacks {_PREFIX}{error.args[0]}; "
            "export it with `bevformer export`"
        ) from None
    except ValueError as error:
        raise ExportError(f"{source}: its metadata is damaged ({error}); export it again") from None


def _to_strings(provenance: Provenance) -> dict[str, str]:
    height, width = provenance.image_hw
    return {
        "checkpoint_name": provenance.checkpoint_name,
        "checkpoint_sha256": provenance.checkpoint_sha256,
        "config_name": provenance.config_name,
        "config_digest": provenance.config_digest,
        "image_hw": f"{height}x{width}",
        "opset": str(provenance.opset),
        "exporter": provenance.exporter,
        **{f"{_VERSION_PREFIX}{package}": version for package, version in sorted(provenance.versions.items())},
    }
