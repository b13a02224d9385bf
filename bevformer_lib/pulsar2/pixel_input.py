"""What Pulsar2 is given of a graph that takes pixels.

Its own input processors turn what comes in (``src_dtype`` U8) into what the model was made for, so the model is one of
float32 images: the graph without its Cast, calibrated with pixels as float32. Mean and std stay in the graph: those of
input processors are documented for images, and nobody has said which axis of (1, cameras, 3, H, W) they go along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import onnx

from bevformer_lib.calibration.archive import CalibrationSet, write_as_float
from bevformer_lib.calibration.pack import archive_name
from bevformer_lib.export.pixel_input import file_takes_pixels, with_float_pixels
from bevformer_lib.names import INPUT_IMG

_FOLDER: Final = "pixels"


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
    onnx.save(with_float_pixels(onnx.load(str(model))), str(graph))
    write_as_float(samples, INPUT_IMG, archive)
    return {model.absolute(): graph.absolute(), (samples.folder / archive.name).absolute(): archive.absolute()}
