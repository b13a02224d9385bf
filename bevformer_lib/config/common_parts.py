"""What model configs and inference configs describe alike."""

from __future__ import annotations

from bevformer_lib.config.model_config import BoxCoderConfig, ImageNormConfig
from bevformer_lib.config.section import Section


def read_image_norm(section: Section) -> ImageNormConfig:
    """Return the pixel normalisation of a section with mean, std and to_rgb.

    Raises:
        ConfigError: one of them is missing or has the wrong type, or a std is not above 0.
    """
    mean, std = section.triple("mean"), section.triple("std")
    if min(std) <= 0:
        raise section.error("std", "must hold three numbers above 0")
    return ImageNormConfig(mean=mean, std=std, to_rgb=section.boolean("to_rgb"))


def read_box_coder(
    coder: Section,
    *,
    pc_range: tuple[float, float, float, float, float, float],
    num_query: int,
    num_classes: int,
) -> BoxCoderConfig:
    """Return the decoding that a bbox_coder section describes, checked against the head's own figures.

    Args:
        coder: the section.
        pc_range: the config's point_cloud_range, m.
        num_query: the head's object queries.
        num_classes: the head's classes.

    Raises:
        ConfigError: a key is missing, has the wrong type or disagrees with the head.
    """
    coder.check_equal("pc_range", coder.box_range("pc_range"), pc_range, "point_cloud_range")
    coder.check_equal("num_classes", coder.positive_int("num_classes"), num_classes, "the head's num_classes")
    max_num = coder.positive_int("max_num")
    if max_num > num_query * num_classes:
        raise coder.error("max_num", f"is {max_num}, above the {num_query * num_classes} scores (queries x classes)")
    return BoxCoderConfig(
        pc_range=pc_range,
        post_center_range=coder.box_range("post_center_range"),
        max_num=max_num,
        num_classes=num_classes,
        score_threshold=coder.optional_number("score_threshold"),
    )
