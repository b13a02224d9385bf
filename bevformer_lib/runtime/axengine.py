"""AXEngine, the runtime of AXERA's boards and M.2 cards, as a :class:`~bevformer_lib.runtime.base.Runtime`.

Its documented Python interface is used: ``InferenceSession(path, providers=[...], provider_options=[...])``,
``get_inputs()``, ``get_outputs()``, ``run(output_names, feed)`` and ``get_available_providers()``. What it takes to
close a session is in :mod:`~bevformer_lib.runtime.axengine_session`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.runtime.axengine_errors import driver_error, load_error, package_error, said, start_error
from bevformer_lib.runtime.axengine_session import AxEngineSession
from bevformer_lib.runtime.base import Runtime, RuntimeOptions, TensorSpec
from bevformer_lib.runtime.board import BOARD, take_board
from bevformer_lib.runtime.stdout import send_last_words_to_stderr, stdout_kept_apart
from bevformer_lib.scratch import temporary_folder

BOARD_PROVIDER: Final = "AxEngineExecutionProvider"
CARD_PROVIDER: Final = "AXCLRTExecutionProvider"
_LIBRARIES: Final = MappingProxyType({BOARD_PROVIDER: "libax_engine.so", CARD_PROVIDER: "libaxcl_rt.so"})
"""The board's own NPU, then M.2 cards in a host: whichever has its driver is the first choice."""

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
    return AxEngineRuntime(model, options.npu)


@dataclass(frozen=True)
class Npu:
    """An NPU of this machine.

    Attributes:
        name: ``board`` or ``card:N``.
        provider: the library's name for its kind.
        device_id: which card; ``None``: the library's choice.
    """

    name: str
    provider: str
    device_id: int | None = None

    @classmethod
    def chosen(cls, axengine: ModuleType, npu: str | None) -> Npu:
        """Return the NPU that is asked for.

        Raises:
            RuntimeUnavailableError: there is no driver for it, or no such name.
        """
        say_available = getattr(axengine, "get_available_providers", _LIBRARIES.keys)
        available = [provider for provider in _LIBRARIES if provider in say_available()]
        if npu is None:
            return cls(BOARD, BOARD_PROVIDER) if BOARD_PROVIDER in available else cls("card:0", CARD_PROVIDER)
        named = re.fullmatch(r"(board)|card(?::(\d+))?", npu)
        if named is None:
            raise RuntimeUnavailableError(f"npu '{npu}' is not known; use board, card or card:N")
        provider = BOARD_PROVIDER if named.group(1) else CARD_PROVIDER
        if provider not in available:
            raise RuntimeUnavailableError(
                f"--npu {npu}: AXEngine finds no {_LIBRARIES[provider]}, which {provider} needs (it finds "
                f"{', '.join(available) or 'none'}); install that driver, or leave --npu out"
            )
        if provider == BOARD_PROVIDER:
            return cls(BOARD, provider)
        device_id = None if named.group(2) is None else int(named.group(2))
        return cls(f"card:{device_id or 0}", provider, device_id)


class AxEngineRuntime:
    """A compiled ``.axmodel`` on an NPU.

    The NPU is this process's as long as such an object lives in it. What the library prints goes to the log: standard
    output belongs to the program that uses this.
    """

    _session: AxEngineSession | None = None
    _give_back: Callable[[], None] | None = None

    def __init__(self, model: Path, npu: str | None = None) -> None:
        """Load ``model`` onto the NPU; waits while another process has it.

        Args:
            model: the ``.axmodel`` file.
            npu: ``board``, ``card`` or ``card:N``; ``None``: the board's, or the first card where there is no board's.

        Raises:
            RuntimeUnavailableError: AXEngine is not installed or finds no driver or device, or the model is none that
                this NPU runs.
        """
        if not model.is_file():
            raise RuntimeUnavailableError(f"{model}: no such model file; check the path")
        self._model = model
        axengine = import_axengine()
        self.npu = Npu.chosen(axengine, npu)
        self._give_back = take_board(self.npu.name)
        with _library_at_work():
            try:
                self._session = AxEngineSession(axengine, model, self.npu.provider, self.npu.device_id)
                atexit.register(_release, weakref.ref(self))
                self.inputs: Mapping[str, TensorSpec] = _specs(self._session.get_inputs(), model)
                self.outputs: Mapping[str, TensorSpec] = _specs(self._session.get_outputs(), model)
            except BaseException as error:
                self.close()
                if isinstance(error, RuntimeUnavailableError) or not isinstance(error, Exception):
                    raise
                raise load_error(model, error) from error

    def __del__(self) -> None:
        """Let other programs have the NPU."""
        self.close()

    def close(self) -> None:
        """Free the memory that the model has on the NPU, then let other programs have it."""
        session, self._session = self._session, None
        give_back, self._give_back = self._give_back, None
        try:
            if session is not None:
                with _one_at_a_time, stdout_kept_apart(_log):
                    session.close()
        except Exception as error:
            _log.warning("%s: AXEngine did not let go of it (%s)", self._model, said(error))
        finally:
            if give_back is not None:
                give_back()

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
            if self._session is None:
                raise RuntimeUnavailableError(f"{self._model}: was closed; load it again")
            try:
                # Copies: the library may give views of its buffers, which the next run overwrites.
                results = [np.array(result) for result in self._session.run(names, arrays)]
            except Exception as error:
                raise RuntimeUnavailableError(
                    f"{self._model}: the NPU failed ({said(error)}); look into the board's kernel log (dmesg), and "
                    "whether another program uses the NPU"
                ) from error
        return dict(zip(names, results, strict=True))


def start_npu(npu: str | None = None) -> Npu:
    """Start an NPU without a model of ours, by having it refuse a file that is none; the process keeps it started.

    Raises:
        RuntimeUnavailableError: it can't be started here.
    """
    axengine = import_axengine()
    chosen = Npu.chosen(axengine, npu)
    give_back = take_board(chosen.name)
    try:
        with temporary_folder() as folder, _library_at_work():
            no_model = folder / "none.axmodel"
            no_model.write_bytes(b"no model: does the NPU start?")
            try:
                AxEngineSession(axengine, no_model, chosen.provider, chosen.device_id).close()
            except Exception as error:
                if (problem := start_error(error)) is not None:
                    raise problem from error
    finally:
        give_back()
    return chosen


def _release(loaded: weakref.ref[AxEngineRuntime]) -> None:
    """Release a session, even while its runtime is still referenced."""
    runtime = loaded()
    if runtime is not None:
        runtime.close()


@contextlib.contextmanager
def _library_at_work() -> Iterator[None]:
    """Let one thread use the library, and keep what it prints, now and when the process ends, from standard output."""
    with _one_at_a_time, stdout_kept_apart(_log):
        try:
            yield
        finally:
            send_last_words_to_stderr()


def import_axengine() -> ModuleType:
    """Import AXEngine.

    Raises:
        RuntimeUnavailableError: it is not installed, or finds no driver or device; says what to do.
    """
    try:
        with _library_at_work():
            axengine = importlib.import_module("axengine")
    except ModuleNotFoundError as error:
        if error.name != "axengine":
            raise package_error(error) from error
        raise RuntimeUnavailableError(
            f"AXEngine is not installed ({error}); it is not on the Python package index: {_WHEEL}"
        ) from error
    except (ImportError, OSError, AssertionError) as error:
        raise driver_error(error) from error
    except Exception as error:
        raise start_error(error) or driver_error(error) from error
    if not callable(getattr(axengine, "InferenceSession", None)):
        place = axengine.__file__ or ", ".join(getattr(axengine, "__path__", ()))
        raise RuntimeUnavailableError(
            f"{place} is named axengine and is not AXEngine (it has no InferenceSession); remove it, and {_WHEEL}"
        )
    return axengine


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
