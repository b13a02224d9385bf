"""The inference config: what a board needs to know of a model to feed it and to decode its outputs.

The file's form is the one that the model's vendor publishes (``inference_config.json``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from bevformer_lib.config.camera_capacity import CameraCapacity
from bevformer_lib.config.common_parts import read_box_coder, read_image_norm
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.config.load import read_json_object
from bevformer_lib.config.model_config import BoxCoderConfig, ImageNormConfig, ModelConfig
from bevformer_lib.config.section import Section
from bevformer_lib.errors import ConfigError
from bevformer_lib.files import write_json

_CAMERA_CAPACITY: Final = "camera_capacity"
_HOST_GEOMETRY: Final = "host_geometry"
_Part = TypeVar("_Part", CameraCapacity, HostGeometryConfig)


@dataclass(frozen=True)
class InferenceConfig:
    """What feeding and decoding need of a model.

    Attributes:
        bev_h: BEV rows (along y, forward).
        bev_w: BEV columns (along x, right).
        pc_range: range of the detection head, m, LiDAR frame: minima of x, y, z, then maxima.
        class_names: in the order of the class scores.
        camera_capacity: cameras per BEV query that the model samples, for compiled formats, which lose the
            graph's metadata; ``None``: not known, or it samples every cell in every camera.
        host_geometry: what the host needs to compute the model's geometry, likewise; ``None``: the model computes it.
    """

    bev_h: int
    bev_w: int
    num_query: int
    num_classes: int
    embed_dims: int
    pc_range: tuple[float, float, float, float, float, float]
    class_names: tuple[str, ...]
    box_coder: BoxCoderConfig
    img_norm: ImageNormConfig
    camera_capacity: CameraCapacity | None = None
    host_geometry: HostGeometryConfig | None = None


def inference_config_of(
    model: ModelConfig,
    camera_capacity: CameraCapacity | None = None,
    host_geometry: HostGeometryConfig | None = None,
) -> InferenceConfig:
    """Return the part of a model's config that inference needs, and what the exported graph says of itself."""
    return InferenceConfig(
        bev_h=model.bev_h,
        bev_w=model.bev_w,
        num_query=model.num_query,
        num_classes=model.num_classes,
        embed_dims=model.embed_dims,
        pc_range=model.pc_range,
        class_names=model.class_names,
        box_coder=model.box_coder,
        img_norm=model.img_norm,
        camera_capacity=camera_capacity,
        host_geometry=host_geometry,
    )


def read_inference_config(path: Path) -> InferenceConfig:
    """Read and check an inference config; keys that are not known are left alone, since other tools add their own.

    Raises:
        ConfigError: the file can't be read, a key is missing or has the wrong type, or two places disagree; names the
            file and the dotted key.
    """
    try:
        content = read_json_object(path)
    except ConfigError as error:
        raise ConfigError(f"{error}; name the inference_config.json that 'bevformer extract-config' writes") from error
    config = Section(content, str(path))
    model = config.section("model")
    transformer = model.section("transformer")
    bev_h, bev_w = model.positive_int("bev_h"), model.positive_int("bev_w")
    num_query, num_classes = model.positive_int("num_query"), model.positive_int("num_classes")
    pc_range = config.box_range("point_cloud_range")
    class_names = config.section("dataset").texts("class_names")
    transformer.check_equal("bev_h", transformer.positive_int("bev_h"), bev_h, "model.bev_h")
    transformer.check_equal("bev_w", transformer.positive_int("bev_w"), bev_w, "model.bev_w")
    model.check_equal("num_classes", num_classes, len(class_names), "the number of dataset.class_names")
    return InferenceConfig(
        bev_h=bev_h,
        bev_w=bev_w,
        num_query=num_query,
        num_classes=num_classes,
        embed_dims=transformer.positive_int("embed_dims"),
        pc_range=pc_range,
        class_names=class_names,
        box_coder=read_box_coder(
            model.section("bbox_coder"), pc_range=pc_range, num_query=num_query, num_classes=num_classes
        ),
        img_norm=read_image_norm(config.section("img_norm")),
        camera_capacity=_read_part(CameraCapacity, config, _CAMERA_CAPACITY, bev_h, bev_w),
        host_geometry=_read_part(HostGeometryConfig, config, _HOST_GEOMETRY, bev_h, bev_w),
    )


def write_inference_config(config: InferenceConfig, path: Path) -> None:
    """Write an inference config atomically: the published keys, and what is known of the exported graph."""
    write_json(path, _to_json(config))


def _read_part(kind: type[_Part], config: Section, name: str, bev_h: int, bev_w: int) -> _Part | None:
    """Return what is known of the exported graph, if it is given: for a grid of the model's size."""
    if name not in config:
        return None
    section = config.section(name)
    part = kind.read(section)
    section.check_equal("bev_h", part.grid.bev_h, bev_h, "model.bev_h")
    section.check_equal("bev_w", part.grid.bev_w, bev_w, "model.bev_w")
    return part


def _to_json(config: InferenceConfig) -> dict[str, Any]:
    coder = config.box_coder
    threshold = {} if coder.score_threshold is None else {"score_threshold": coder.score_threshold}
    capacity = {} if config.camera_capacity is None else {_CAMERA_CAPACITY: config.camera_capacity.to_dict()}
    geometry = {} if config.host_geometry is None else {_HOST_GEOMETRY: config.host_geometry.to_dict()}
    return {
        "model": {
            "bev_h": config.bev_h,
            "bev_w": config.bev_w,
            "num_query": config.num_query,
            "num_classes": config.num_classes,
            "transformer": {"embed_dims": config.embed_dims, "bev_h": config.bev_h, "bev_w": config.bev_w},
            "bbox_coder": {
                "pc_range": coder.pc_range,
                "post_center_range": coder.post_center_range,
                "max_num": coder.max_num,
                "num_classes": coder.num_classes,
                **threshold,
            },
        },
        "img_norm": {"mean": config.img_norm.mean, "std": config.img_norm.std, "to_rgb": config.img_norm.to_rgb},
        "point_cloud_range": config.pc_range,
        "dataset": {"class_names": config.class_names},
        **capacity,
        **geometry,
    }
