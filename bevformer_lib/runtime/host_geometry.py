"""A graph whose geometry the host computes, behind the interface of the graphs that compute it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.geometry.box_outputs import BOX_OUTPUTS, join_boxes
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.names import (
    CAN_BUS_SIZE,
    HOST_GEOMETRY_OUTPUTS,
    INPUT_CAN_BUS,
    INPUT_IMG,
    INPUT_LIDAR2IMG,
    INPUT_NAMES,
    INPUT_PREV_BEV,
    INPUT_REFERENCE_POINTS,
    OUTPUT_BEV_EMBED,
    OUTPUT_CLASSES,
    OUTPUT_COORDS,
)
from bevformer_lib.runtime.base import Runtime, TensorSpec


class HostGeometryRuntime:
    """Takes the four inputs of a BEVFormer graph, computes the geometry, and joins the boxes that the network gives."""

    def __init__(self, runtime: Runtime, config: HostGeometryConfig, *, source: str = "the model") -> None:
        """Bind a loaded network.

        Raises:
            RuntimeUnavailableError: its inputs or outputs are not those of the config.
        """
        self._runtime = runtime
        self._geometry = HostGeometry(config)
        self._require_interface(source)
        cameras = (1, config.num_cams, 4, 4)
        inputs = {
            INPUT_IMG: runtime.inputs[INPUT_IMG],
            INPUT_CAN_BUS: TensorSpec(INPUT_CAN_BUS, (1, CAN_BUS_SIZE), np.dtype(np.float32)),
            INPUT_LIDAR2IMG: TensorSpec(INPUT_LIDAR2IMG, cameras, np.dtype(np.float32)),
            INPUT_PREV_BEV: runtime.inputs[INPUT_PREV_BEV],
        }
        parts = [runtime.outputs[name].shape for name in BOX_OUTPUTS]
        # References and offsets are the same three values of the code.
        code_size = sum(shape[-1] for shape in parts[1:])
        coords = TensorSpec(OUTPUT_COORDS, (*parts[0][:-1], code_size), np.dtype(np.float32))
        own = {name: runtime.outputs[name] for name in (OUTPUT_BEV_EMBED, OUTPUT_CLASSES)}
        others = {name: spec for name, spec in runtime.outputs.items() if name not in HOST_GEOMETRY_OUTPUTS}
        self.inputs: Mapping[str, TensorSpec] = MappingProxyType({name: inputs[name] for name in INPUT_NAMES})
        self.outputs: Mapping[str, TensorSpec] = MappingProxyType({**own, OUTPUT_COORDS: coords, **others})

    @property
    def metadata(self) -> Mapping[str, str]:
        """The network's metadata."""
        return self._runtime.metadata

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the geometry, execute the network once, and join its boxes.

        Raises:
            RuntimeUnavailableError: the network takes a geometry input as integers.
        """
        results = self._runtime.run(self.network_inputs(feed))
        joined = join_boxes(results, self._geometry.config.box_range)
        return {name: joined if name == OUTPUT_COORDS else results[name] for name in self.outputs}

    def prepare_cameras(self, lidar2img: NDArray[np.float32]) -> None:
        """Compute ahead, in any thread, what follows from (1, cameras, 4, 4) alone; :meth:`run` then finds it done."""
        self._geometry.camera_inputs(lidar2img[0])

    def network_inputs(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return what the network itself is fed, in its own types."""
        arrays: dict[str, NDArray[Any]] = dict(self._geometry.inputs(feed))
        for name, array in arrays.items():
            dtype = self._runtime.inputs[name].dtype
            if array.dtype == dtype:
                continue
            if dtype.kind in "iub":
                raise RuntimeUnavailableError(
                    f"the model takes {name} as {dtype}, and nothing says what its numbers stand for; compile it with "
                    f"a float32 {name}"
                )
            arrays[name] = array.astype(dtype)
        return arrays

    def _require_interface(self, source: str) -> None:
        inputs, outputs = self._geometry.input_names, self._runtime.outputs
        wrong = [f"it has no input '{name}'" for name in inputs if name not in self._runtime.inputs]
        wrong += [f"it has an unknown input '{name}'" for name in self._runtime.inputs if name not in inputs]
        wrong += [f"it has no output '{name}'" for name in HOST_GEOMETRY_OUTPUTS if name not in outputs]
        wrong += [
            f"its {name} is {self._runtime.inputs[name].shape}, not {shape}"
            for name, shape in self._geometry.shapes.items()
            if name in self._runtime.inputs and self._runtime.inputs[name].shape != shape
        ]
        if wrong:
            raise RuntimeUnavailableError(
                f"{source}: is not the network whose geometry the host should compute ({'; '.join(wrong)}); extract "
                "the inference config with --onnx from the graph that the model was made of"
            )


def with_host_geometry(
    runtime: Runtime, stated: HostGeometryConfig | None = None, *, source: str = "the model"
) -> Runtime:
    """Return a runtime that takes the four inputs of a BEVFormer graph; one that does so already is returned itself.

    Args:
        runtime: the loaded model.
        stated: the inference config's ``host_geometry``, for models that carry no metadata.
        source: the model, for messages.

    Raises:
        ConfigError: the model's metadata is damaged.
        RuntimeUnavailableError: the model leaves its geometry to the host, and nothing says how, or it is another one.
    """
    if INPUT_LIDAR2IMG in runtime.inputs or INPUT_REFERENCE_POINTS not in runtime.inputs:
        return runtime
    config = HostGeometryConfig.from_metadata(runtime.metadata, source=source) or stated
    if config is None:
        raise RuntimeUnavailableError(
            f"{source}: leaves its geometry to the host, and neither it nor the inference config says how to compute "
            "it; extract the inference config with --onnx from the graph that the model was made of"
        )
    return HostGeometryRuntime(runtime, config, source=source)
