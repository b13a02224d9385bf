"""`bevformer extract-config`."""

from __future__ import annotations

import sys
from pathlib import Path


def command(config: str, *, output: Path, image_size: str | None = None) -> None:
    """Write what a board needs to know of a model: inference_config.json.

    Args:
        config: preset name (tiny, small, base), an original config file (.py), or the same content as .json.
        output: the file to write.
        image_size: padded picture size as HEIGHTxWIDTH, for a config that does not tell it.
    """
    from bevformer_lib.config.inference_config import inference_config_of, write_inference_config
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.config.pictures import parse_image_size

    image_hw = None if image_size is None else parse_image_size(image_size)
    model = load_model_config(config, image_hw=image_hw)
    write_inference_config(inference_config_of(model), output)
    sys.stdout.write(
        f"{output}: {model.name}, BEV {model.bev_h} x {model.bev_w}, {model.num_query} queries, "
        f"{model.num_classes} classes, pictures {model.image_hw[0]} x {model.image_hw[1]}\n"
    )
