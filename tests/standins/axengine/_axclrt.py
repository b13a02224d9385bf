"""The stand-in's session on a card; private names are those that 0.1.3 has."""

from __future__ import annotations

import atexit
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._machine import NodeArg, Npu, arguments, checked_feed, driver_says, memory, require_library, say, setting

require_library("axcl_rt")

_FLOAT16 = 13
_all_model_instances: list[AXCLRTSession] = []
_of_this_thread = threading.local()


def _enter(context: object) -> int:
    _of_this_thread.context = context
    return 0


def _buffer(buffers: list[int], place: int, block: list[int], size: list[int]) -> int:
    """Say where a buffer is; an error where none was set, and then nothing is written."""
    if place >= len(buffers):
        return -1
    block[0] = buffers[place]
    return 0


def _free(block: int) -> int:
    if getattr(_of_this_thread, "context", None) is None:
        raise RuntimeError("this thread has no context of a card")
    memory.give_back(block)
    return 0


axclrt_cffi = SimpleNamespace(new=lambda kind: [0], NULL=0)
axclrt_lib = SimpleNamespace(
    axclrtSetCurrentContext=_enter,
    axclrtFree=_free,
    axclrtEngineGetNumInputs=lambda info: info["inputs"],
    axclrtEngineGetNumOutputs=lambda info: info["outputs"],
    axclrtEngineGetInputBufferByIndex=lambda io, *rest: _buffer(io["inputs"], *rest),
    axclrtEngineGetOutputBufferByIndex=lambda io, *rest: _buffer(io["outputs"], *rest),
    axclrtEngineDestroyIO=lambda io: io.clear(),
)


def _finalize() -> None:
    for session in _all_model_instances:
        session._unload()
    driver_says("axclFinalize")


if setting("INIT") == "fail":
    raise RuntimeError("Failed to initialize axcl runtime. 1.")
atexit.register(_finalize)


class AXCLRTSession:
    """A model on a card; the library keeps it until the process ends."""

    def __init__(self, path_or_bytes: Any, sess_options: object, provider_options: Any) -> None:
        self._io: list[dict[str, list[int]]] | None = None
        self._model_id: list[int] | None = None
        self.device_index = 0
        if provider_options is not None and "device_id" in provider_options[0]:
            self.device_index = provider_options[0].get("device_id", 0)
        cards = int(setting("CARDS", "1"))
        if cards == 0:
            raise RuntimeError("Get AXCL device failed 0x00000000, find total 0 device.")
        if self.device_index >= cards:
            raise RuntimeError(f"Device index {self.device_index} is out of range, total {cards} device.")
        if setting("INIT") == "busy":
            raise AttributeError("cdata 'axclrtEngineVNpuKind *' has no attribute 'value'")
        self._thread_context = [f"context {self.device_index}"]
        _enter(self._thread_context[0])
        chip = setting("CHIP", "AX650")
        say(f"SOC Name: {chip}N")
        self._model_id = [0]
        if setting("INIT") == "vnpu":
            raise RuntimeError("Failed to get VNPU attribute.")
        say(f"VNPU type: VNPUType.{setting('VNPU', 'DISABLED')}")
        path_or_bytes.encode("utf-8")  # the real one does, so a Path fails there
        model = Path(path_or_bytes).read_bytes()
        try:
            self._npu = Npu(model)
        except RuntimeError as error:
            raise RuntimeError("axclrtEngineLoadFromFile failed.") from error
        weights = memory.take(len(model))
        if self._npu.description["target_hardware"] != chip or not weights:
            raise RuntimeError("axclrtEngineLoadFromFile failed.")
        self._model_id[0] = weights
        say(f"Compiler version: {self._npu.description['version']}")
        self._inputs = arguments(self._npu.description["inputs"], _FLOAT16)
        self._outputs = arguments(self._npu.description["outputs"], _FLOAT16)
        self._info = [{"inputs": len(self._inputs), "outputs": len(self._outputs)}]
        self._buffers: dict[str, NDArray[Any]] = {}
        self._io = self._prepare_io()
        _all_model_instances.append(self)

    def __del__(self) -> None:
        self._unload()
        _all_model_instances.remove(self)

    def _prepare_io(self) -> list[dict[str, list[int]]]:
        """Take memory for inputs and outputs; where it does not suffice, what was taken stays taken, as in 0.1.3."""
        _io: list[dict[str, list[int]]] = [{"inputs": [], "outputs": []}]
        for kind, values in (("input", self._inputs), ("output", self._outputs)):
            for place, one in enumerate(values):
                block = memory.take(int(np.prod(one.shape)) * one.dtype.itemsize)
                if not block:
                    raise RuntimeError(f"axclrtMalloc failed 0x80300003 for {kind} {place}.")
                _io[0][f"{kind}s"].append(block)
        return _io

    def _unload(self) -> None:
        if self._io is not None:
            self._require_context()
            for block in (*self._io[0]["inputs"], *self._io[0]["outputs"]):
                memory.give_back(block)
            self._io = None
        if self._model_id[0] != 0:  # type: ignore[index] # None where no card was found, and so it fails there too
            self._require_context()
            memory.give_back(self._model_id[0])  # type: ignore[index]
            self._model_id[0] = 0  # type: ignore[index]

    def _require_context(self) -> None:
        if getattr(_of_this_thread, "context", None) != self._thread_context[0]:
            raise RuntimeError("this thread has no context of the card")

    def get_inputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the inputs; a stand-in's model has one shape group."""
        return [self._inputs][shape_group]

    def get_outputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the outputs."""
        return [self._outputs][shape_group]

    def run(self, output_names: list[str] | None, input_feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once; outputs that are asked for in another order than the model's are mixed up."""
        _enter(self._thread_context[0])
        names = [one.name for one in self._outputs]
        asked = checked_feed(self._inputs, names, output_names, input_feed)
        driver_says("axclrtEngineExecute")
        for name, array in self._npu.run(input_feed).items():
            np.copyto(self._buffers.setdefault(name, np.empty_like(array)), array)
        return [self._buffers[names[asked.index(name)]].view() for name in names]
