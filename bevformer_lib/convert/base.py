"""The joint between a float graph with its calibration set and whatever quantises it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from bevformer_lib.progress import ProgressCallback

METADATA_PREFIX: Final = "bevformer.quantization."
"""Before the keys of what a converter writes about a graph into it."""
FLOAT_MODEL_SHA256: Final = f"{METADATA_PREFIX}float_model_sha256"
"""Key of the digest of the float model's file."""
PTQ_PASSES: Final = f"{METADATA_PREFIX}ptq"
"""Key of the passes of post-training quantisation that the float graph went through."""


@dataclass(frozen=True)
class Conversion:
    """What a converter did.

    Attributes:
        settings: what it was told, in words that it understands.
        quantized_nodes: operator type -> nodes that compute on quantised numbers now.
        float_nodes: operator type -> nodes of these types that stayed in float.
    """

    output: Path
    converter: str
    settings: Mapping[str, str]
    num_samples: int
    quantized_nodes: Mapping[str, int]
    float_nodes: Mapping[str, int]
    bytes_before: int
    bytes_after: int
    seconds: float


class Converter(Protocol):
    """Turns a float ONNX graph and a calibration set into a quantised model."""

    def convert(self, model: Path, calibration: Path, output: Path, *, on_progress: ProgressCallback) -> Conversion:
        """Quantise ``model`` with the archives in ``calibration`` and write ``output`` atomically.

        Raises:
            ConversionError: the model can't be quantised, or does not fit the calibration set.
            CalibrationError: the calibration set is broken.
        """
