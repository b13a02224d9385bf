"""What the host does to a frame's tensors before a compiled model takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.model_config import ImageNormConfig
from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.geometry.host import rotated_source
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_IMG, INPUT_PREV_BEV
from bevformer_lib.runtime.base import Runtime, TensorSpec
from bevformer_lib.scenes.preprocess import Preprocessor


@dataclass(frozen=True)
class HostRotation:
    """Rotates ``prev_bev`` by the ego's change of yaw: nearest neighbour, zeros outside.

    Our own graphs do it inside; the vendor's exported models leave it to the host. See
    :func:`bevformer_lib.geometry.host.rotated_source`.

    Attributes:
        center_xy: rotation centre (x, y) in cells; the published models have (100, 100), also on a map of 50 x 50.
    """

    bev_hw: tuple[int, int]
    center_xy: tuple[float, float]

    def __call__(self, prev_bev: NDArray[np.float32], can_bus: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rotate (bev_h * bev_w, 1, embed_dims) by ``can_bus`` (1, 18; delta form)."""
        column, row, inside = rotated_source(self.bev_hw, self.center_xy, can_bus)
        source = np.where(inside, row * self.bev_hw[1] + column, 0).ravel()
        rotated: NDArray[np.float32] = prev_bev[source]
        rotated[~inside.ravel()] = 0.0
        return rotated


@dataclass(frozen=True)
class HostPreparation:
    """From a frame's float32 tensors to what a compiled model's inputs ask for.

    Attributes:
        img_norm: how ``img`` was normalised; needed for models that take pixels.
        rotation: for models that leave the rotation of ``prev_bev`` to the host; else ``None``.
    """

    img_norm: ImageNormConfig | None = None
    rotation: HostRotation | None = None

    def feed(self, arrays: Mapping[str, NDArray[Any]], inputs: Mapping[str, TensorSpec]) -> dict[str, NDArray[Any]]:
        """Return C-contiguous arrays of the inputs' dtypes; arrays that are such already are returned themselves.

        A model whose ``img`` is uint8 normalises by itself: it is fed pixels, in the network's order of channels.

        Raises:
            RuntimeUnavailableError: an input has an integer type that a float tensor can't be turned into.
        """
        prepared = dict(arrays)
        if self.rotation is not None:
            prepared[INPUT_PREV_BEV] = self.rotation(arrays[INPUT_PREV_BEV], arrays[INPUT_CAN_BUS])
        return {name: self.cast(array, inputs[name]) for name, array in prepared.items()}

    def cast(self, array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
        """Return one input in the type that the model takes it in.

        Raises:
            RuntimeUnavailableError: it is an integer type that a float tensor can't be turned into.
        """
        name, dtype = spec.name, spec.dtype
        # bfloat16 is of kind "V": numpy knows it from ml_dtypes, which AXEngine brings.
        if dtype.kind not in "iub" or array.dtype == dtype:
            return np.ascontiguousarray(array, dtype=dtype)
        if name == INPUT_IMG and dtype == np.uint8 and self.img_norm is not None:
            return pixels_of(array, self.img_norm)
        raise RuntimeUnavailableError(
            f"the model takes {name} as {dtype}, and nothing says what its numbers stand for; compile it with a "
            f"float32 {name}" + (" (or uint8 pixels)" if name == INPUT_IMG else "")
        )


def fed_to(preprocessor: Preprocessor, *models: Runtime) -> Preprocessor:
    """Return a preprocessor that makes pixels where all models take them, else normalised images."""
    types = {spec.dtype for model in models for name, spec in model.inputs.items() if name == INPUT_IMG}
    return replace(preprocessor, pixels=types == {np.dtype(np.uint8)})


def pixels_of(img: NDArray[np.float32], img_norm: ImageNormConfig) -> NDArray[np.uint8]:
    """Undo the normalisation of (1, cameras, 3, H, W); the padding becomes the mean colour, rounded."""
    channels = (1, 1, 3, 1, 1)
    std = np.array(img_norm.std, dtype=np.float32).reshape(channels)
    mean = np.array(img_norm.mean, dtype=np.float32).reshape(channels)
    pixels = img * std
    pixels += mean
    return np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels).astype(np.uint8)
