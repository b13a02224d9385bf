"""AXEngine, the runtime of AXERA's boards and M.2 cards, as a :class:`~bevformer_lib.runtime.base.Runtime`.

Only the documented Python interface is used: ``InferenceSession(path, providers=[...])``, ``get_inputs()``,
``get_outputs()`` and ``run(output_names, feed)``.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.runtime.base import Runtime, RuntimeOptions, TensorSpec
from bevformer_lib.runtime.board import give_board_back, take_board
from bevformer_lib.runtime.stdout import send_last_words_to_stderr, stdout_kept_apart

BOARD_PROVIDER: Final = "AxEngineExecutionProvider"
CARD_PROVIDER: Final = "AXCLRTExecutionProvider"
PROVIDERS: Final = (BOARD_PROVIDER, CARD_PROVIDER)
"""The board's own NPU, then an M.2 card in a host; the library takes the first one that it has."""

_WHEEL: Final = (
    "install the wheel of https://github.com/AXERA-TECH/pyaxengine/releases "
    "('pip install axengine-<version>-py3-none-any.whl')"
)

_log = logging.getLogger(__name__)
_one_at_a_time = threading.RLock()
"""A session has one set of buffers on the device, and a process one standard output."""


def open_model(model: Path, options: RuntimeOptions) -> Runtime:
    """Load a compiled model onto the NPU.

    Raises:
        RuntimeUnavailableError: it can't be run here, or has no such option.
    """
    why = "AXEngine runs a model on the NPU that it was compiled for"
    options.refuse(why, "device", "threads", "image", "executable")
    return AxEngineRuntime(model)


class AxEngineRuntime:
    """A compiled ``.axmodel`` on an NPU.

    The NPU is this process's as long as such an object lives in it. What the library prints goes to the log: standard
    output belongs to the program that uses this.
    """

    _has_board = False

    def __init__(self, model: Path) -> None:
        """Load ``model`` onto the NPU; waits while another process has it.

        Args:
            model: the ``.axmodel`` file.

        Raises:
            RuntimeUnavailableError: AXEngine is not installed or finds no driver or device, or the model is none that
                this NPU runs.
        """
        if not model.is_file():
            raise RuntimeUnavailableError(f"{model}: no such model file; check the path")
        self._model = model
        with _one_at_a_time, stdout_kept_apart(_log):
            axengine = import_axengine()
        take_board()
        self._has_board = True
        # The library raises whatever its layers raise: ImportError, RuntimeError, ValueError, OSError, AssertionError.
        with _one_at_a_time, stdout_kept_apart(_log):
            try:
                self._session = axengine.InferenceSession(str(model), providers=list(PROVIDERS))
                send_last_words_to_stderr()
                # Registered after the library's own farewell, so run before it: no session outlives its device.
                atexit.register(_release, weakref.ref(self))
                self.inputs: Mapping[str, TensorSpec] = _specs(self._session.get_inputs(), model)
                self.outputs: Mapping[str, TensorSpec] = _specs(self._session.get_outputs(), model)
            except BaseException as error:
                self._let_go()
                if isinstance(error, RuntimeUnavailableError) or not isinstance(error, Exception):
                    raise
                raise _load_error(model, error) from error

    def __del__(self) -> None:
        """Let other programs have the NPU."""
        self._let_go()

    def _let_go(self) -> None:
        self._session = None
        if self._has_board:
            self._has_board = False
            give_board_back()

    @property
    def metadata(self) -> Mapping[str, str]:
        """Empty: a compiled model has none."""
        return {}

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model once and return all its outputs by name.

        Raises:
            RuntimeUnavailableError: the NPU failed.
        """
        # All names in the model's own order: in any other order the library mixes its outputs up.
        names = list(self.outputs)
        # C order, since the library copies memory as it lies.
        arrays = {name: np.ascontiguousarray(array) for name, array in feed.items()}
        with _one_at_a_time, stdout_kept_apart(_log):
            try:
                # Copies: the library may give views of its buffers, which the next run overwrites.
                results = [np.array(result) for result in self._session.run(names, arrays)]
            except Exception as error:
                raise RuntimeUnavailableError(
                    f"{self._model}: the NPU failed ({_said(error)}); look into the board's kernel log (dmesg), and "
                    "whether another program uses the NPU"
                ) from error
        return dict(zip(names, results, strict=True))


def _release(loaded: weakref.ref[AxEngineRuntime]) -> None:
    """Let go of a session, whoever still holds its runtime."""
    runtime = loaded()
    if runtime is not None:
        with _one_at_a_time, stdout_kept_apart(_log):
            runtime._let_go()


def import_axengine() -> ModuleType:
    """Import AXEngine.

    Raises:
        RuntimeUnavailableError: it is not installed, or finds no driver or device; says what to do.
    """
    try:
        return importlib.import_module("axengine")
    except ModuleNotFoundError as error:
        if error.name != "axengine":
            raise _package_error(error) from error
        raise RuntimeUnavailableError(
            f"AXEngine is not installed ({error}); it is not on the Python package index: {_WHEEL}"
        ) from error
    except (ImportError, OSError, AssertionError) as error:
        raise RuntimeUnavailableError(
            f"AXEngine is installed but finds no NPU driver ({_said(error)}); run this on an AXERA board (it needs "
            "libax_engine.so) or on a host with an AXERA card (it needs libaxcl_rt.so, from the card's driver package)"
        ) from error
    except Exception as error:
        raise RuntimeUnavailableError(_device_message(error)) from error


def _package_error(error: ModuleNotFoundError) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(
        f"AXEngine lacks a package that it needs ({error}); install it with 'pip install bevformer-axera[edge]'"
    )


def _load_error(model: Path, error: Exception) -> RuntimeUnavailableError:
    """Tell a device that does not start from a model that does not load."""
    said = _said(error)
    if isinstance(error, ModuleNotFoundError):
        return _package_error(error)
    # The library loads its drivers when the first session starts; cffi's errors of that name no file.
    of_driver = isinstance(error, ImportError) or (isinstance(error, OSError) and error.filename is None)
    if of_driver or "initialize" in said or "axcl runtime" in said or "device" in said.lower():
        return RuntimeUnavailableError(_device_message(error))
    if "vnpu" in said.lower():
        return RuntimeUnavailableError(
            f"{model}: was compiled for more NPU cores than this board's NPU mode gives ({said}); compile it with "
            "another --npu-mode, or change the board's mode"
        )
    return RuntimeUnavailableError(
        f"{model}: AXEngine can't load it ({said}); give an .axmodel that was compiled for this chip and NPU mode"
    )


def _device_message(error: Exception) -> str:
    return (
        f"AXEngine can't start the NPU ({_said(error)}); check that the driver is loaded, that you may open the device "
        "(groups, or root), and that no other program holds it"
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _specs(arguments: Iterable[Any], model: Path) -> Mapping[str, TensorSpec]:
    return MappingProxyType({str(argument.name): _spec(argument, model) for argument in arguments})


def _spec(argument: Any, model: Path) -> TensorSpec:
    """Turn AXEngine's description of an input or output into ours; its dtype is a numpy dtype, or the name of one."""
    try:
        return TensorSpec(str(argument.name), tuple(int(size) for size in argument.shape), np.dtype(argument.dtype))
    except TypeError as error:
        raise RuntimeUnavailableError(
            f"{model}: '{argument.name}' has the type {argument.dtype!r}, which this pipeline can't feed or read; "
            "update the board's libax_engine.so, or compile the model with float32 inputs and outputs"
        ) from error
