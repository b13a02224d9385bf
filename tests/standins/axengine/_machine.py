"""Which machine the stand-in pretends to be, its drivers' memory, and the child process that is its NPU."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PROJECT = Path(__file__).resolve().parents[3]
_FLOAT16, _UNKNOWN = "float16", 0


def setting(name: str, otherwise: str = "") -> str:
    """Return what the environment says about the machine."""
    return os.environ.get(f"AXENGINE_STANDIN_{name}", otherwise)


def say(line: str) -> None:
    """Print as the library does."""
    sys.stdout.write(f"[INFO] {line}\n")


def driver_says(line: str) -> None:
    """Print from below Python."""
    os.write(1, f"[stand-in's C library] {line}\n".encode())


def require_library(name: str) -> None:
    """Look a driver's library up, as the library does when its first session starts."""
    assert name not in setting("MISSING").split(","), (
        f"Failed to find library {name}. Please ensure it is installed and in the library path."
    )


class NodeArg:
    """An input or output."""

    def __init__(self, name: str, dtype: np.dtype[Any], shape: list[int]) -> None:
        self.name = name
        self.dtype = dtype
        self.shape = shape


def arguments(described: list[tuple[str, str, tuple[int, ...]]], float16_code: int) -> list[NodeArg]:
    """Return inputs or outputs as 0.1.3 does: shapes are lists, and there is no float16."""
    result = []
    for name, dtype, shape in described:
        if dtype == _FLOAT16:
            raise ValueError(f"Unsupported data type '{float16_code}'.")
        if dtype == "bfloat16":
            if setting("BSP") == "old":
                raise ValueError(f"Unsupported data type '{_UNKNOWN}'.")
            import ml_dtypes  # noqa: F401 (numpy knows the name after this)
        result.append(NodeArg(name, np.dtype(dtype), list(shape)))
    return result


def checked_feed(
    inputs: Sequence[NodeArg], output_names: Sequence[str], asked: list[str] | None, feed: Mapping[str, NDArray[Any]]
) -> list[str]:
    """Refuse what the library refuses; return the outputs that are asked for."""
    missing = [one.name for one in inputs if one.name not in feed]
    if missing:
        raise ValueError(f"Required inputs ({missing}) are missing from input feed ({list(feed)}).")
    known = {one.name: one for one in inputs}
    for name, array in feed.items():
        if name not in known:
            raise ValueError(f"Input name '{name}' is not in model inputs name list.")
        one = known[name]
        assert one.shape == list(array.shape) and one.dtype == array.dtype, (
            f"model inputs({name}) expect shape {one.shape} and dtype {one.dtype}, "
            f"however gets input with shape {array.shape} and dtype {array.dtype}"
        )
        assert array.flags.c_contiguous, f"model inputs({name}): its memory is copied as it lies"
    for name in asked or ():
        if name not in output_names:
            raise ValueError(f"Output name '{name}' is not in model outputs name list.")
    return list(output_names) if asked is None else asked


class Memory:
    """The device's memory: bytes by address."""

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}
        self._next = 0x1000

    @property
    def used(self) -> int:
        """Return how many bytes are taken."""
        return sum(self._blocks.values())

    def take(self, size: int) -> int:
        """Return an address; 0 where the device has no room for it."""
        if self.used + size > int(setting("MEMORY", str(2**40))):
            return 0
        self._next += 0x1000
        self._blocks[self._next] = size
        return self._next

    def give_back(self, address: int) -> None:
        """Free a block; to free one twice is an error, as it is on a device."""
        del self._blocks[address]


memory = Memory()


class Npu:
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
