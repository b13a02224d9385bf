"""Opening a stored model for execution; a process that runs scene after scene keeps its models loaded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bevformer_lib.backends.runtimes import ONNXRUNTIME, PULSAR2, RUNTIMES, open_runtime
from bevformer_lib.pipeline.inputs import open_artifact
from bevformer_lib.pipeline.work import NOT_IN_KEY
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.recorded import RecordedRuntime
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact

_KEPT: Final = 2
"""The float model and the one that is compared with it."""

_loaded: OrderedDict[tuple[str, str, str, Simulator, str | None], Runtime] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Simulator:
    """Which Pulsar2 simulates, where that is asked for: the one that compiled.

    Attributes:
        image: docker image; ``None``: what is found on the machine.
        executable: native command on the machine; ``None``: likewise.
    """

    image: str | None = None
    executable: str | None = field(default=None, metadata=NOT_IN_KEY)


FOUND_SIMULATOR: Final = Simulator()
"""Whatever is found."""


@dataclass(frozen=True)
class Executable:
    """A model and what executes it.

    Attributes:
        runtime: one of ``backends.runtimes.RUNTIMES``.
        device: of ONNX Runtime.
        simulator: of the runtime ``pulsar2``.
        npu: of the runtime ``axengine``; ``None``: its own choice.
    """

    model: Artifact
    runtime: str
    device: str
    simulator: Simulator = FOUND_SIMULATOR
    npu: str | None = None

    def open(self, store: Store) -> Runtime:
        """Load the model, or return it as it was loaded before; several threads may use one.

        Raises:
            RuntimeUnavailableError: it can't be executed here.
            StoreError: its file is missing or corrupted.
        """
        key = (self.model.sha256, self.runtime, self.device, self.simulator, self.npu)
        with _lock:
            if key not in _loaded:
                while len(_loaded) >= _KEPT:
                    _loaded.popitem(last=False)
                _loaded[key] = self._load(open_artifact(store, self.model))
            _loaded.move_to_end(key)
            return _loaded[key]

    def _load(self, model: Path) -> Runtime:
        if self.runtime == ONNXRUNTIME:
            return open_runtime(self.runtime, model, device=self.device)
        if self.runtime == PULSAR2:
            executable = self.simulator.executable
            own = None if executable is None else Path(executable)
            return open_runtime(self.runtime, model, image=self.simulator.image, executable=own)
        return open_runtime(self.runtime, model, npu=self.npu)


def open_float_model(store: Store, reference: Artifact, recording: Artifact | None, device: str) -> Runtime:
    """Load the float model, or the recording that stands for it on a machine that can't run it.

    Raises:
        RuntimeUnavailableError: the model can't be run here, or the recording is damaged.
    """
    if recording is not None:
        return RecordedRuntime(open_artifact(store, recording))
    return Executable(reference, ONNXRUNTIME, device).open(store)


def runtime_modules(candidate: str, recording: Artifact | None) -> tuple[str, ...]:
    """Return the modules that run a candidate, and the float model unless a recording stands for it."""
    return tuple(RUNTIMES[kind] for kind in ((candidate,) if recording else (candidate, ONNXRUNTIME)))


def pool_of(runtime: str) -> str:
    """Return the work pool that has what a candidate runs on: boards, or where Pulsar2 and its simulator are."""
    return "cpu" if runtime == PULSAR2 else "edge"


def unload_models() -> None:
    """Let go of all loaded models, before something else needs the memory."""
    with _lock:
        _loaded.clear()
