"""`bevformer extract-config`."""

from __future__ import annotations

import sys
from pathlib import Path


def command(config: str, *, output: Path, image_size: str | None = None, onnx: Path | None = None) -> None:
    """Write what a board needs to know of a model: inference_config.json.

    Args:
        config: preset name (tiny, small, base), an original config file (.py), or the same content as .json.
        output: the file to write.
        image_size: padded image size HxW in pixels, instead of the config's own.
        onnx: the exported graph; its cameras per BEV query are then written too, and every camera
            calibration checked against it on the board, where the compiled model does not tell.
    """
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
    from bevformer_lib.config.load import load_model_config

    model = load_model_config(config, image_hw=parse_image_size(image_size))
    capacity, geometry = None, None
    if onnx is not None:
        from bevformer_lib.export.host_geometry import host_geometry_of_graph
        from bevformer_lib.export.spatial import capacity_of_graph

        capacity, geometry = capacity_of_graph(onnx, model), host_geometry_of_graph(onnx)
    write_inference_config(inference_config_of(model, capacity, geometry), output)
    sampled = "" if capacity is None else f", {capacity.cameras_per_query} cameras per BEV cell"
    sys.stdout.write(
        f"{output}: {model.name}, BEV {model.bev_h} x {model.bev_w}, {model.num_query} queries, "
        f"{model.num_classes} classes, images {model.image_hw[0]} x {model.image_hw[1]}{sampled}\n"
    )
