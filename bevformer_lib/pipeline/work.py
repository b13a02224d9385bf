"""A unit of work of a build. It declares its step: the fields of its class say all that the step depends on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final

from pydantic_core import to_jsonable_python

from bevformer_lib.pipeline.inputs import SceneSource
from bevformer_lib.pipeline.software import software
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact, Step

NOT_IN_KEY: Final[Mapping[str, Any]] = MappingProxyType({"in_key": False})
"""Metadata of a field that says where or how work is done and not what comes out, as a device or a time limit."""
PART: Final[Mapping[str, Any]] = MappingProxyType({"part": True})
"""Metadata of a field that the step is done once for: its scene."""
_INPUT: Final = object()


@dataclass(frozen=True)
class Work(ABC):
    """Plain data that says what a step is made from and how it is done; small, so that it may travel to a worker.

    A subclass names its step, the work pool that does it (none: it costs little and stays in the build's process),
    modules that do the work and are chosen by name, and the distributions whose versions show in the outputs. Its
    fields declare the rest: artifacts and scenes in them are the step's inputs, everything else its parameters, unless
    the field's metadata is :data:`NOT_IN_KEY`. A parameter that has its default value is left out, so that a new option
    leaves the keys of builds without it alone.
    """

    _name: ClassVar[str]
    _pool: ClassVar[str | None]
    _modules: ClassVar[tuple[str, ...]]
    _packages: ClassVar[tuple[str, ...]]

    def __init_subclass__(
        cls,
        *,
        step: str,
        pool: str | None = None,
        modules: tuple[str, ...] = (),
        packages: tuple[str, ...] = (),
    ) -> None:
        cls._name, cls._pool, cls._modules, cls._packages = step, pool, modules, packages

    @abstractmethod
    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Do the work.

        Args:
            store: holds the inputs that earlier steps made.
            folder: empty; gets the outputs.
            on_progress: called with the progress.

        Returns:
            Facts about the outputs; plain JSON data.
        """

    @cached_property
    def step(self) -> Step:
        """The step: its key decides whether the work has to be done."""
        inputs: dict[str, Artifact] = {}
        parameters: dict[str, Any] = {}
        for declared in fields(self):
            if declared.metadata != NOT_IN_KEY:
                value = getattr(self, declared.name)
                name = "" if isinstance(value, Mapping) else declared.name  # files keep their own names
                value = _without_inputs(value, name, inputs)
                if value not in (_INPUT, _without_inputs(declared.default, name, {})):
                    parameters[declared.name] = value
        return Step(
            name=self._name,
            version=1,
            inputs=inputs,
            parameters=parameters,
            packages=software(type(self).__module__, *self.modules, packages=self._packages),
            part=", ".join(one.name if isinstance(one, SceneSource) else str(one) for one in self._parts) or None,
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules that do the work and are chosen by name, so that the step's own module does not import them."""
        return self._modules

    @property
    def pool(self) -> str | None:
        """Work pool whose workers can do it."""
        return self._pool

    @property
    def num_frames(self) -> int:
        """Frames that have to be run, which is what the time goes with; 1 where that is not what is done."""
        return sum(one.num_frames for one in self._parts if isinstance(one, SceneSource)) or 1

    @property
    def _parts(self) -> list[object]:
        parts = (getattr(self, declared.name) for declared in fields(self) if declared.metadata == PART)
        return [part for part in parts if part is not None]


def _without_inputs(value: object, name: str, inputs: dict[str, Artifact]) -> Any:
    """Return a field's value as plain JSON data, without the artifacts in it, which are added to the inputs."""
    if isinstance(value, SceneSource):
        return _without_inputs(value.content, name, inputs)
    if isinstance(value, Artifact):
        if inputs.setdefault(name, value) != value:
            raise ValueError(f"two inputs of a step are named {name}; rename a field of its work")
        return _INPUT
    if isinstance(value, Mapping | list | tuple) or (is_dataclass(value) and not isinstance(value, type)):
        parts = {key: _without_inputs(part, path, inputs) for key, path, part in _parts_of(value, name)}
        kept = {key: part for key, part in parts.items() if part is not _INPUT}
        if parts and not kept:
            return _INPUT
        return list(kept.values()) if isinstance(value, Sequence) else kept
    return value if value is MISSING else to_jsonable_python(value)


def _parts_of(value: Any, name: str) -> Iterator[tuple[object, str, object]]:
    """Yield key, name as an input, and content of the parts of a value."""
    if isinstance(value, Mapping):
        yield from ((key, f"{name}/{key}".lstrip("/"), part) for key, part in value.items())
    elif isinstance(value, Sequence):
        for number, part in enumerate(value):
            yield number, f"scene {part.name}" if isinstance(part, SceneSource) else f"{name}/{number}", part
    else:
        declared = (one for one in fields(value) if one.metadata != NOT_IN_KEY)
        yield from ((one.name, f"{name}/{one.name}", getattr(value, one.name)) for one in declared)
