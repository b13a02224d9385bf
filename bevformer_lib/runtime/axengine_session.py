"""A session of AXEngine that can be closed, which the library (0.1.3) has nothing for.

It keeps every session on a card in a list until the process ends, never frees the memory of inputs and outputs of a
session on a board, and its destructors raise where a session was never finished. What is done about it uses private
parts of the library where they are as in 0.1.3, and leaves alone what another version has otherwise.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any, Final

_LIBRARY: Final = "axengine"
_KEPT: Final = "_all_model_instances"
_POOLS: Final = ("_io_inputs_pool", "_io_outputs_pool")
_FREE: Final = "AX_SYS_MemFree"

_log = logging.getLogger(__name__)


class AxEngineSession:
    """A model on an NPU; what it holds there is free again after :meth:`close`."""

    def __init__(self, axengine: ModuleType, model: Path, provider: str, device_id: int | None) -> None:
        """Load a model.

        Args:
            axengine: the library.
            model: the ``.axmodel`` file.
            provider: the library's name for a board's NPU or for cards.
            device_id: which card; ``None``: the library's choice.

        Raises:
            Exception: whatever the library's layers raise, and nothing is left on the device then.
        """
        chosen = {} if device_id is None else {"provider_options": [{"device_id": device_id}]}
        self._session: Any = None
        try:
            self._session = axengine.InferenceSession(str(model), providers=[provider], **chosen)
        except BaseException as error:
            _release_unfinished(error)
            raise

    def __getattr__(self, name: str) -> Any:
        """Return what the library's session has: ``get_inputs``, ``get_outputs`` and ``run``."""
        return getattr(self._session, name)

    def close(self) -> None:
        """Give all that the model holds on the device back; a closed session stays closed."""
        session, self._session = self._session, None
        if session is None:
            return
        inner = getattr(session, "_sess", None)
        try:
            _enter_context(inner)
            _forget(inner)
            give_back = _board_memory(inner)
        finally:
            with _destructors_kept_quiet():
                # The last references: the library's destructors unload the model.
                del session, inner
        _call_each(give_back)


def _release_unfinished(error: BaseException) -> None:
    """Destroy the library's half-made session now, which only the error's frames still hold."""
    frames = list(_frames(error))
    give_back: list[Callable[[], object]] = []
    for frame in frames:
        inner = frame.f_locals.get("self")
        _enter_context(inner)
        give_back += _board_memory(inner)
        _free_card_memory(inner, frame.f_locals.get("_io"))
    inner = None
    with _destructors_kept_quiet():
        for frame in frames:
            with contextlib.suppress(RuntimeError):
                frame.clear()
            _ = frame.f_locals  # before Python 3.13 a copy, which is brought up to date when it is asked for
    _call_each(give_back)


def _frames(error: BaseException | None) -> Iterator[FrameType]:
    """Yield the library's frames that an error and those behind it went through."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if str(frame.f_globals.get("__name__")).split(".")[0] == _LIBRARY:
                yield frame
        error = error.__context__


def _module(inner: Any) -> ModuleType | None:
    return sys.modules.get(type(inner).__module__)


def _enter_context(inner: Any) -> None:
    """Let this thread work on a session's card, whichever thread made the session."""
    context = getattr(inner, "_thread_context", None)
    enter = getattr(getattr(_module(inner), "axclrt_lib", None), "axclrtSetCurrentContext", None)
    if context is not None and enter is not None:
        enter(context[0])


def _forget(inner: Any) -> None:
    """Take a session out of the list that keeps all those on cards."""
    kept = getattr(_module(inner), _KEPT, None)
    if isinstance(kept, list):
        kept[:] = [one for one in kept if one is not inner]


def _board_memory(inner: Any) -> list[Callable[[], object]]:
    """Return what frees the memory of a board session's inputs and outputs; empty where it does so by itself."""
    free = getattr(getattr(_module(inner), "sys_lib", None), _FREE, None)
    methods = [value for value in vars(type(inner)).values() if isinstance(value, FunctionType)]
    if free is None or any(_FREE in method.__code__.co_names for method in methods):
        return []
    blocks = [block for pool in _POOLS for block in getattr(inner, pool, ())]
    return [_freeing(free, physical[0], virtual[0]) for physical, virtual in blocks if physical[0]]


def _free_card_memory(inner: Any, io: Any) -> None:
    """Free the inputs and outputs that a card's session had when there was no room for the next one.

    Args:
        inner: the library's session, whose model is still loaded.
        io: what holds its buffers until all are there; ``None``: none was made.
    """
    module = _module(inner)
    library, cffi = getattr(module, "axclrt_lib", None), getattr(module, "axclrt_cffi", None)
    info = getattr(inner, "_info", None)
    if io is None or info is None or library is None or cffi is None:
        return
    for kind in ("Input", "Output"):
        buffer_of = getattr(library, f"axclrtEngineGet{kind}BufferByIndex")
        for place in range(getattr(library, f"axclrtEngineGetNum{kind}s")(info[0])):
            block, size = cffi.new("void **"), cffi.new("uint64_t *")
            if buffer_of(io[0], place, block, size) == 0 and block[0] != cffi.NULL:
                library.axclrtFree(block[0])
    library.axclrtEngineDestroyIO(io[0])


def _freeing(free: Callable[[Any, Any], object], physical: Any, virtual: Any) -> Callable[[], object]:
    return lambda: free(physical, virtual)


def _call_each(calls: Iterable[Callable[[], object]]) -> None:
    for call in calls:
        call()


@contextlib.contextmanager
def _destructors_kept_quiet() -> Iterator[None]:
    """Log what the library's destructors raise in the block; Python would print it with a traceback."""
    before = sys.unraisablehook

    def log_it(unraisable: sys.UnraisableHookArgs) -> None:
        if str(getattr(unraisable.object, "__module__", "")).split(".")[0] == _LIBRARY:
            _log.debug("%r: %r", unraisable.object, unraisable.exc_value)
        else:
            before(unraisable)

    sys.unraisablehook = log_it
    try:
        yield
    finally:
        sys.unraisablehook = before
