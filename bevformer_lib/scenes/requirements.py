"""What a model asks of the scenes it is fed."""

from __future__ import annotations

from dataclasses import dataclass

from bevformer_lib.config.model_config import ImageNormConfig, ModelConfig


@dataclass(frozen=True)
class SceneRequirements:
    """The facts of a model that a folder of scenes has to agree with.

    Attributes:
        image_hw: padded image size (height, width) in pixels, as the network is fed.
    """

    num_cams: int
    image_hw: tuple[int, int]
    img_norm: ImageNormConfig

    @classmethod
    def of_model(cls, model: ModelConfig) -> SceneRequirements:
        """Return what ``model`` asks for."""
        return cls(num_cams=model.num_cams, image_hw=model.image_hw, img_norm=model.img_norm)
