"""A stand-in for AXERA's Python library ``axengine`` (0.1.3): its documented interface over a stand-in's `.axmodel`.

Put this package's parent folder on the path and ``import axengine`` finds it. Which machine it pretends to be is read
from the environment, from variables that begin with ``AXENGINE_STANDIN_``:

- ``LIBRARIES``: the drivers found, of "ax_engine" (a board) and "axcl_rt" (a card), joined by commas; none makes the
  import fail, as the real library's does.
- ``MISSING``: libraries of these drivers that are not there after all, as "ax_sys"; found out when a session starts.
- ``CHIP``: AX650 (default) or AX620E. ``VNPU``: DISABLED (default), ENABLED, BIG_LITTLE or LITTLE_BIG.
- ``INIT``: "fail" makes the device refuse to start, "vnpu" to tell its NPU mode, "busy" a card was started before.
- ``BSP``: "old" knows no bfloat16, "ancient" lacks functions too.
- ``CARDS``: how many (1). ``MEMORY``: of the device, in bytes.

Like the real one it prints to standard output, also from below Python and when the process ends, mixes outputs up that
are asked for in another order than the model's, takes no feed of another type or shape, knows no float16, keeps
sessions on cards in ``_all_model_instances``, never frees the memory of a board session's inputs and outputs, has
destructors that raise, and keeps its "NPU" outside of this process: the graph is executed by a child, so that nothing
that a board lacks is imported here. It is stricter in two ways: outputs are views of buffers that the next run
overwrites, as some versions of the real one gave them, and a card's memory can only be freed by a thread that has
entered the card's context.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ._machine import NodeArg, say, setting

__all__ = ["InferenceSession", "NodeArg", "get_all_providers", "get_available_providers"]

axengine_provider_name = "AxEngineExecutionProvider"
axclrt_provider_name = "AXCLRTExecutionProvider"


def get_all_providers() -> list[str]:
    """Return the providers that the library knows."""
    return [axengine_provider_name, axclrt_provider_name]


def get_available_providers() -> list[str]:
    """Return the providers whose driver library is installed."""
    libraries = setting("LIBRARIES").split(",")
    found = {"ax_engine": axengine_provider_name, "axcl_rt": axclrt_provider_name}
    return [provider for library, provider in found.items() if library in libraries]


say(f"Available providers:  {get_available_providers()}")
if not get_available_providers():
    raise ImportError(
        f"No providers found. Please make sure you have installed one of the following: {get_all_providers()}"
    )


class InferenceSession:
    """A model on the stand-in's NPU; it has no close, and leaving a ``with`` block does nothing."""

    def __init__(
        self,
        path_or_bytes: Any,
        sess_options: object | None = None,
        providers: str | list[Any] | None = None,
        provider_options: list[dict[Any, Any]] | None = None,
    ) -> None:
        if sess_options is not None:
            raise NotImplementedError("the stand-in knows no session options")
        self._provider = _chosen_provider(providers)
        say(f"Using provider: {self._provider}")
        self._sess: Any = None
        if self._provider == axclrt_provider_name:
            from ._axclrt import AXCLRTSession

            self._sess = AXCLRTSession(path_or_bytes, sess_options, provider_options)
        else:
            from ._axe import AXEngineSession

            self._sess = AXEngineSession(path_or_bytes, sess_options, provider_options)

    def get_providers(self) -> str:
        """Return the provider in use."""
        return self._provider

    def get_inputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the inputs."""
        return list(self._sess.get_inputs(shape_group))

    def get_outputs(self, shape_group: int = 0) -> list[NodeArg]:
        """Return the outputs."""
        return list(self._sess.get_outputs(shape_group))

    def run(
        self,
        output_names: list[str] | None,
        input_feed: dict[str, NDArray[Any]],
        run_options: object | None = None,
        shape_group: int = 0,
    ) -> list[NDArray[Any]]:
        """Run once."""
        if run_options is not None or shape_group != 0:
            raise ValueError(f"Invalid shape group: {shape_group}, or run options: {run_options}")
        return list(self._sess.run(output_names, input_feed))


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
