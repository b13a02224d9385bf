"""The stand-in's session on a board; private names are those that 0.1.3 has."""

from __future__ import annotations

import atexit
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._machine import (
    NodeArg,
    Npu,
    arguments,
    checked_feed,
    driver_says,
    memory,
    require_library,
    say,
    setting,
)

for _library in ("ax_sys", "ax_engine"):
    require_library(_library)

_CHIP_TYPES = {"AX650": "MC50", "AX620E": "MC20E"}
_MODEL_TYPES = {"NPU1": 0, "NPU2": 1, "NPU3": 2}
_CORES = {"MC50": ("single", "dual", "triple"), "MC20E": ("half", "full")}
_FLOAT16 = 10


def _allocate(physical: list[int], virtual: list[int], size: int) -> int:
    physical[0] = virtual[0] = memory.take(size)
    return 0 if physical[0] else -1


def _free(physical: int, virtual: int) -> int:
    memory.give_back(physical)
    return 0


sys_lib = SimpleNamespace(AX_SYS_MemAllocCached=_allocate, AX_SYS_MemFree=_free)


def _say_goodbye() -> None:
    driver_says("AX_ENGINE_Deinit")


if setting("INIT") == "fail":
    driver_says("AX_SYS_Init: no device")
    raise RuntimeError("Failed to initialize ax sys.")
driver_says("AX_ENGINE_Init")
atexit.register(_say_goodbye)


class AXEngineSession:
    """A model on the board's NPU."""

    def __init__(self, path_or_bytes: Any, sess_options: object, provider_options: object) -> None:
        chip, vnpu = setting("CHIP", "AX650"), setting("VNPU", "DISABLED")
        if setting("INIT") == "vnpu":
            raise RuntimeError("Failed to get VNPU attribute.")
        say(f"Chip type: ChipType.{_CHIP_TYPES[chip]}")
        say(f"VNPU type: VNPUType.{vnpu}")
        self._handle: list[Any] = [None]
        if not isinstance(path_or_bytes, str | os.PathLike):
            raise TypeError(f"Unable to load model from type '{type(path_or_bytes)}'")
        model = Path(path_or_bytes).read_bytes()
        npu = Npu(model)
        self._check_type(npu.description["npu_mode"], chip, vnpu)
        if setting("BSP") == "ancient":
            raise AttributeError(
                "function/symbol 'AX_ENGINE_CreateContextV2' not found in library '/soc/lib/libax_engine.so': "
                "/soc/lib/libax_engine.so: undefined symbol: AX_ENGINE_CreateContextV2"
            )
        weights = memory.take(len(model))
        if npu.description["target_hardware"] != chip or not weights:
            raise RuntimeError("Failed to load model.")
        self._handle[0] = (npu, weights)
        say(f"Compiler version: {npu.description['version']}")
        if setting("BSP"):
            say("function/symbol 'AX_ENGINE_GetGroupIOInfoCount' not found")
        self._inputs = arguments(npu.description["inputs"], _FLOAT16)
        self._outputs = arguments(npu.description["outputs"], _FLOAT16)
        self._buffers: dict[str, NDArray[Any]] = {}
        self._io_inputs_pool: list[tuple[list[int], list[int]]] = []
        self._io_outputs_pool: list[tuple[list[int], list[int]]] = []
        for kind, values, pool in (
            ("input", self._inputs, self._io_inputs_pool),
            ("output", self._outputs, self._io_outputs_pool),
        ):
            for one in values:
                pool.append(([0], [0]))
                size = int(np.prod(one.shape)) * one.dtype.itemsize
                if sys_lib.AX_SYS_MemAllocCached(*pool[-1], size) != 0:
                    raise RuntimeError(f"Failed to allocate memory for {kind}.")

    def __del__(self) -> None:
        self._unload()

    def _check_type(self, npu_mode: str, chip: str, vnpu: str) -> None:
        kind = _MODEL_TYPES[npu_mode]
        cores = _CORES[_CHIP_TYPES[chip]][min(kind, len(_CORES[_CHIP_TYPES[chip]]) - 1)]
        say(f"Model type: {kind} ({cores} core)")
        allowed = {
            "DISABLED": ("single", "dual", "triple", "half", "full"),
            "ENABLED": ("single", "half"),
            "BIG_LITTLE": ("single", "dual"),
            "LITTLE_BIG": ("single", "dual"),
        }[vnpu]
        if cores not in allowed:
            raise ValueError(f"Model type '{kind}' is not allowed when vnpu is inited as VNPUType.{vnpu}.")

    def _unload(self) -> None:
        """Let the driver destroy the model, and leave the memory of inputs and outputs to the process, as 0.1.3."""
        if self._handle[0] is not None:
            driver_says("AX_ENGINE_DestroyHandle")
            memory.give_back(self._handle[0][1])
        self._handle[0] = None

    def get_inputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the inputs; a stand-in's model has one shape group."""
        return [self._inputs][shape_group]

    def get_outputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the outputs."""
        return [self._outputs][shape_group]

    def run(self, output_names: list[str] | None, input_feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once; outputs that are asked for in another order than the model's are mixed up."""
        names = [one.name for one in self._outputs]
        asked = checked_feed(self._inputs, names, output_names, input_feed)
        driver_says("AX_ENGINE_RunSyncV2")
        for name, array in self._handle[0][0].run(input_feed).items():
            np.copyto(self._buffers.setdefault(name, np.empty_like(array)), array)
        return [self._buffers[names[asked.index(name)]].view() for name in names]
