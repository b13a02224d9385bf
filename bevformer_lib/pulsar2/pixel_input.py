"""What Pulsar2 is given of a graph that takes pixels.

Its input processors normalise what comes in (``src_dtype`` U8, ``mean``, ``std``) before the model that it is given, so
that model, and its calibration set, are those of normalised float32 images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from bevformer_lib.calibration.archive import CalibrationSet, rewrite_archive
from bevformer_lib.calibration.pack import archive_name
from bevformer_lib.export.pixel_input import file_takes_pixels, pixel_normalization, takes_pixels, without_normalization
from bevformer_lib.names import INPUT_IMG

_FOLDER: Final = "pixels"


def input_processor(graph: onnx.GraphProto, name: str) -> dict[str, Any]:
    """Return the entry of ``input_processors`` for an input: in float, but for images that a graph takes as pixels.

    Raises:
        ExportError: the graph takes uint8 images, and does not say how it normalises them.
    """
    if name != INPUT_IMG or not takes_pixels(graph):
        return {"tensor_name": name, "src_dtype": "FP32"}
    norm = pixel_normalization(graph)
    return {"tensor_name": name, "src_dtype": "U8", "mean": _shortest(norm.mean), "std": _shortest(norm.std)}


def given_instead(model: Path, samples: CalibrationSet, work: Path) -> dict[Path, Path]:
    """Write what the tool is given instead of a graph that takes pixels and its archive of images.

    Args:
        model: the float graph.
        samples: its calibration set.
        work: folder to write into.

    Returns:
        Absolute paths of the files -> those in their place; empty where the graph takes no pixels.
    """
    if not file_takes_pixels(model):
        return {}
    folder = work / _FOLDER
    folder.mkdir()
    graph, archive = folder / model.name, folder / archive_name(INPUT_IMG)
    loaded = onnx.load(str(model))
    onnx.save(without_normalization(loaded), str(graph))
    rewrite_archive(samples, INPUT_IMG, archive, pixel_normalization(loaded.graph).apply)
    return {model.absolute(): graph.absolute(), (samples.folder / archive.name).absolute(): archive.absolute()}


def _shortest(values: np.ndarray[Any, np.dtype[np.float32]]) -> list[float]:
    """Return the numbers with the fewest digits that float32 tells apart."""
    return [float(str(value)) for value in values]
