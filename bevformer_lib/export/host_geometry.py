"""What an exported graph says of the geometry that it leaves to the host; needs ONNX, but not PyTorch."""

from __future__ import annotations

from pathlib import Path

import onnx

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import ExportError


def host_geometry_of_graph(path: Path) -> HostGeometryConfig | None:
    """Return what the host needs to compute a graph's geometry; ``None``: the graph computes it.

    Raises:
        ExportError: the file can't be read as ONNX.
        ConfigError: what it says is damaged.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no typed home; a missing file raises OSError
        raise ExportError(f"{path} can't be read as an ONNX graph ({error}); export it again") from error
    return HostGeometryConfig.from_metadata(
        {entry.key: entry.value for entry in model.metadata_props}, source=str(path)
    )
