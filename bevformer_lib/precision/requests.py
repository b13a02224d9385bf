"""Kept layers as Pulsar2 and its emulator are asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bevformer_lib.files import atomic_path

KEPT_TYPE: Final = "U16"
"""Pulsar2 computes Conv, MatMul and Gemm in 8 or 16 bits; FP32 is not honoured for them."""


def layer_configs(layers: Sequence[str]) -> list[dict[str, Any]]:
    """Return Pulsar2's ``layer_configs`` that keep these layers in 16 bits, input and output."""
    if not layers:
        return []
    return [{"layer_names": list(layers), "data_type": KEPT_TYPE, "output_data_type": KEPT_TYPE}]


def write_overrides(layers: Sequence[str], path: Path) -> None:
    """Write them as overrides for ``bevformer convert --overrides``, as YAML, atomically."""
    import yaml

    with atomic_path(path) as temporary:
        content = {"quant": {"layer_configs": layer_configs(layers)}}
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, width=1000), encoding="utf-8")
