"""What an exported graph says of the geometry that it leaves to the host; needs ONNX, but not PyTorch."""

from __future__ import annotations

from pathlib import Path

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.onnx_file import load_onnx


def host_geometry_of_graph(path: Path) -> HostGeometryConfig | None:
    """Return what the host needs to compute a graph's geometry; ``None``: the graph computes it.

    Raises:
        ExportError: the file can't be read as ONNX.
        ConfigError: what it says is damaged.
    """
    try:
        model = load_onnx(path, external=False)
    except OSError as error:
        raise ExportError(f"{path} can't be read ({error.strerror or error}); check the path") from error
    except ValueError as error:
        raise ExportError(f"{path} {error}") from error
    return HostGeometryConfig.from_metadata(
        {entry.key: entry.value for entry in model.metadata_props}, source=str(path)
    )
