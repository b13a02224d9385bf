"""A stand-in for AXERA's Python library ``axengine`` (0.1.3): its documented interface over a stand-in's `.axmodel`.

Put this package's parent folder on the path and ``import axengine`` finds it. Which machine it pretends to be is read
from the environment:

- ``AXENGINE_STANDIN_LIBRARIES``: the drivers found, of "ax_engine" (a board) and "axcl_rt" (a card), joined by commas;
  none makes the import fail, as the real library's does.
- ``AXENGINE_STANDIN_CHIP``: AX650 (default) or AX620E. ``AXENGINE_STANDIN_VNPU``: DISABLED (default), ENABLED,
  BIG_LITTLE or LITTLE_BIG.
- ``AXENGINE_STANDIN_INIT``: "fail" makes the device refuse to start.

Like the real one it prints to standard output, also from below Python, mixes outputs up that are asked for in another
order than the model's, takes no feed of another type or shape, and keeps its "NPU" outside of this process: the graph
is executed by a child, so that nothing that a board lacks is imported here. It is stricter in one way: outputs are
views of buffers that the next run overwrites, as some versions of the real one gave them.
"""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["InferenceSession", "NodeArg", "get_all_providers", "get_available_providers"]

axengine_provider_name = "AxEngineExecutionProvider"
axclrt_provider_name = "AXCLRTExecutionProvider"

_PROJECT = Path(__file__).resolve().parents[3]
_CHIP_TYPES = {"AX650": "MC50", "AX620E": "MC20E"}
_MODEL_TYPES = {"NPU1": 0, "NPU2": 1, "NPU3": 2}
_CORES = {"MC50": ("single", "dual", "triple"), "MC20E": ("half", "full")}


def get_all_providers() -> list[str]:
    """Return the providers that the library knows."""
    return [axengine_provider_name, axclrt_provider_name]


def get_available_providers() -> list[str]:
    """Return the providers whose driver library is installed."""
    libraries = os.environ.get("AXENGINE_STANDIN_LIBRARIES", "").split(",")
    found = {"ax_engine": axengine_provider_name, "axcl_rt": axclrt_provider_name}
    return [provider for library, provider in found.items() if library in libraries]


def _say(line: str) -> None:
    sys.stdout.write(f"[INFO] {line}\n")


if not get_available_providers():
    _say("Available providers:  []")
    raise ImportError(
        f"No providers found. Please make sure you have installed one of the following: {get_all_providers()}"
    )
_say(f"Available providers:  {get_available_providers()}")


class NodeArg:
    """An input or output."""

    def __init__(self, name: str, dtype: np.dtype[Any], shape: Sequence[int]) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape


class InferenceSession:
    """A model on the stand-in's NPU."""

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: object | None = None,
        providers: str | list[Any] | None = None,
        provider_options: list[dict[Any, Any]] | None = None,
    ) -> None:
        if sess_options is not None or provider_options is not None:
            raise NotImplementedError("the stand-in knows no session or provider options")
        self._provider = _chosen_provider(providers)
        _say(f"Using provider: {self._provider}")
        on_card = self._provider == axclrt_provider_name
        if os.environ.get("AXENGINE_STANDIN_INIT") == "fail":
            failed = "axcl runtime. 1" if on_card else "ax sys"
            raise RuntimeError(f"Failed to initialize {failed}.")
        if not isinstance(path_or_bytes, str | bytes | os.PathLike):
            raise TypeError(f"Unable to load model from type '{type(path_or_bytes)}'")
        if on_card and not isinstance(path_or_bytes, bytes):
            path_or_bytes.encode("utf-8")  # type: ignore[union-attr] # the real one does, so a Path fails there
        chip = os.environ.get("AXENGINE_STANDIN_CHIP", "AX650")
        vnpu = os.environ.get("AXENGINE_STANDIN_VNPU", "DISABLED")
        _say(f"SOC Name: {chip}N" if on_card else f"Chip type: ChipType.{_CHIP_TYPES[chip]}")
        _say(f"VNPU type: VNPUType.{vnpu}")
        os.write(1, b"[stand-in's C library] AX_ENGINE_Init\n")
        model = path_or_bytes if isinstance(path_or_bytes, bytes) else Path(path_or_bytes).read_bytes()
        atexit.register(os.write, 1, b"[stand-in's C library] AX_ENGINE_Deinit\n")
        self._npu = _Npu(model)
        _check_model(self._npu.description, chip, vnpu)
        _say(f"Compiler version: {self._npu.description['version']}")
        self._inputs = _arguments(self._npu.description["inputs"], as_list=on_card)
        self._outputs = _arguments(self._npu.description["outputs"], as_list=on_card)
        self._buffers: dict[str, NDArray[Any]] = {}

    def get_providers(self) -> str:
        """Return the provider in use."""
        return self._provider

    def get_inputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the inputs; a stand-in's model has one shape group."""
        return [self._inputs][shape_group]

    def get_outputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the outputs."""
        return [self._outputs][shape_group]

    def run(
        self,
        output_names: list[str] | None,
        input_feed: dict[str, NDArray[Any]],
        run_options: object | None = None,
        shape_group: int = 0,
    ) -> list[NDArray[Any]]:
        """Run once; see the module for the order of the outputs."""
        if run_options is not None or shape_group != 0:
            raise ValueError(f"Invalid shape group: {shape_group}, or run options: {run_options}")
        missing = [one.name for one in self._inputs if one.name not in input_feed]
        if missing:
            raise ValueError(f"Required inputs ({missing}) are missing from input feed ({list(input_feed)}).")
        known = {one.name: one for one in self._inputs}
        for name, array in input_feed.items():
            if name not in known:
                raise ValueError(f"Input name '{name}' is not in model inputs name list.")
            one = known[name]
            assert list(one.shape) == list(array.shape) and one.dtype == array.dtype, (
                f"model inputs({name}) expect shape {one.shape} and dtype {one.dtype}, "
                f"however gets input with shape {array.shape} and dtype {array.dtype}"
            )
            assert array.flags.c_contiguous, f"model inputs({name}): its memory is copied as it lies"
        names = [one.name for one in self._outputs]
        for name in output_names or ():
            if name not in names:
                raise ValueError(f"Output name '{name}' is not in model outputs name list.")
        os.write(1, b"[stand-in's C library] AX_ENGINE_RunSyncV2\n")
        results = self._npu.run(input_feed)
        for name, array in results.items():
            np.copyto(self._buffers.setdefault(name, np.empty_like(array)), array)
        asked = names if output_names is None else output_names
        return [self._buffers[names[asked.index(name)]].view() for name in names]


def _chosen_provider(providers: str | list[Any] | None) -> str:
    available = get_available_providers()
    if providers is None:
        return available[0]
    wanted = [providers] if isinstance(providers, str) else providers
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise TypeError(f"Invalid provider type: {type(providers)}. Must be str or list of str.")
    unknown = [one for one in wanted if one not in get_all_providers()]
    found = [one for one in wanted if one in available]
    if unknown or not found:
        raise ValueError(f"Selected provider(s): {unknown or wanted} is(are) not available.")
    return str(found[0])


def _check_model(description: Mapping[str, Any], chip: str, vnpu: str) -> None:
    """Refuse models of another chip, and models of more cores than the NPU mode has."""
    if description["target_hardware"] != chip:
        raise RuntimeError("Failed to load model.")
    kind = _MODEL_TYPES[description["npu_mode"]]
    cores = _CORES[_CHIP_TYPES[chip]][kind]
    _say(f"Model type: {kind} ({cores} core)")
    allowed = {
        "DISABLED": ("single", "dual", "triple", "half", "full"),
        "ENABLED": ("single", "half"),
        "BIG_LITTLE": ("single", "dual"),
        "LITTLE_BIG": ("single", "dual"),
    }[vnpu]
    if cores not in allowed:
        raise ValueError(f"Model type '{kind}' is not allowed when vnpu is inited as VNPUType.{vnpu}.")


def _arguments(described: list[tuple[str, str, tuple[int, ...]]], *, as_list: bool) -> list[NodeArg]:
    """Return what the board's (tuples) or the card's (lists) session would say."""
    arguments = []
    for name, dtype, shape in described:
        if dtype == "bfloat16":
            import ml_dtypes  # noqa: F401 (numpy knows the name after this)
        arguments.append(NodeArg(name, np.dtype(dtype), list(shape) if as_list else tuple(shape)))
    return arguments


class _Npu:
    """The child process that executes the graph; it ends with its standard input."""

    def __init__(self, model: bytes) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.standins.axengine_device"],
            cwd=_PROJECT,
            env={**os.environ, "PYTHONPATH": str(_PROJECT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.description: dict[str, Any] = self._ask(model)

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the graph once."""
        sent = {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in feed.items()}
        received = self._ask(sent)
        return {
            name: np.frombuffer(data, np.dtype(dtype)).reshape(shape).copy()
            for name, (dtype, shape, data) in received.items()
        }

    def _ask(self, question: Any) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        pickle.dump(question, self._child.stdin)
        self._child.stdin.flush()
        answer = pickle.load(self._child.stdout)
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return dict(answer)

    def __del__(self) -> None:
        child = getattr(self, "_child", None)
        if child is not None:
            child.stdin.close()
            child.stdout.close()
            child.wait()
