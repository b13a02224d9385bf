"""Whether a machine can hold a model, told from the products of its sizes before anything is built."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bevformer_lib.config.limits import MAX_BEV_CELLS, MAX_FEATURES, MAX_PIXELS, MAX_SAMPLES, MAX_WEIGHTS
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import ConfigError


@dataclass(frozen=True)
class _Product:
    """Sizes that a tensor, or a stack of them, is the product of.

    Attributes:
        keys: as the original's config names them.
        sizes: in the order of ``keys``.
        limit: largest product.
    """

    keys: str
    sizes: tuple[int, ...]
    limit: int


def check_sizes(config: ModelConfig, source: str) -> None:
    """Refuse a model that would fill the memory.

    Args:
        config: each of its sizes may be sensible by itself.
        source: the file, for messages.

    Raises:
        ConfigError: a product is larger than any model's; names the file and the keys.
    """
    for product in _products(config):
        if math.prod(product.sizes) > product.limit:
            sizes = " x ".join(map(str, product.sizes))
            raise ConfigError(
                f"{source}: {product.keys} is {sizes}, above {product.limit} in all; no model is so large, "
                "make one of them smaller"
            )


def _products(config: ModelConfig) -> Iterator[_Product]:
    height, width = config.image_hw
    cells, channels = (config.bev_h, config.bev_w), config.embed_dims
    head, transformer = "model.pts_bbox_head", "model.pts_bbox_head.transformer"
    encoder, decoder = f"{transformer}.encoder", f"{transformer}.decoder"
    yield _Product(f"{head}.bev_h x bev_w", cells, MAX_BEV_CELLS)
    yield _Product(f"{head}.bev_h x bev_w x transformer.embed_dims", (*cells, channels), MAX_WEIGHTS)
    yield _Product(f"{head}.num_query x transformer.embed_dims", (config.num_query, channels), MAX_WEIGHTS)
    yield _Product("the image's height x width", (height, width), MAX_PIXELS)
    yield _Product(
        f"the image's height x width x {transformer}.num_cams x model.img_backbone.base_channels",
        (height, width, config.num_cams, config.backbone.base_channels),
        MAX_FEATURES,
    )
    yield _Product(
        "model.img_neck.num_outs x out_channels squared", (config.neck.num_outs, *2 * (channels,)), MAX_WEIGHTS
    )
    yield _Product(
        f"{decoder}.num_layers x {head}.num_reg_fcs x transformer.embed_dims squared",
        (config.decoder.num_layers, config.num_reg_fcs, channels, channels),
        MAX_WEIGHTS,
    )
    spatial = (config.encoder.num_heads, config.encoder.spatial_points, config.encoder.spatial_levels)
    temporal = (config.encoder.num_heads, config.encoder.temporal_points)
    into_bev = (config.decoder.num_heads, config.decoder.num_points)
    for stack, layers, feedforward_channels, samples in (
        (encoder, config.encoder.num_layers, config.encoder.feedforward_channels, (spatial, temporal)),
        (decoder, config.decoder.num_layers, config.decoder.feedforward_channels, (into_bev,)),
    ):
        per_layer = f"{stack}.num_layers x embed_dims"
        yield _Product(f"{per_layer} squared", (layers, channels, channels), MAX_WEIGHTS)
        yield _Product(f"{per_layer} x feedforward_channels", (layers, channels, feedforward_channels), MAX_WEIGHTS)
        for factors in samples:
            keys = " x ".join(("num_heads", "num_points", "num_levels")[: len(factors)])
            yield _Product(f"{per_layer} x {keys}", (layers, channels, *factors), MAX_WEIGHTS)
    yield _Product(f"{encoder}: bev_h x bev_w x num_heads x num_points x num_levels", (*cells, *spatial), MAX_SAMPLES)
    yield _Product(f"{encoder}: bev_h x bev_w x num_heads x num_points", (*cells, *temporal), MAX_SAMPLES)
    yield _Product(
        f"{encoder}: bev_h x bev_w x num_points_in_pillar x num_cams",
        (*cells, config.encoder.pillar_points, config.num_cams),
        MAX_SAMPLES,
    )
    yield _Product(f"{decoder}: num_query x num_heads x num_points", (config.num_query, *into_bev), MAX_SAMPLES)
    yield _Product(
        f"{decoder}: num_query squared x num_heads",
        (config.num_query, config.num_query, config.decoder.num_heads),
        MAX_SAMPLES,
    )
