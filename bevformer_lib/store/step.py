"""What a step is made from, and the record of one that was done."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bevformer_lib.errors import StoreError

_KEY_DIGITS = 32
_FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Artifact:
    """A reference to content; small, so it may travel where the content must not.

    Attributes:
        name: file name, or a name for people where the content is a whole folder.
        sha256: hex digest of the content.
        size: bytes.
        made_by: identity of the record of the step that made it, ``None`` for what came from outside.
        source: where it came from (a path), for what came from outside.
    """

    name: str
    sha256: str
    size: int
    made_by: str | None = None
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data without the empty fields."""
        content = {"name": self.name, "sha256": self.sha256, "size": self.size}
        origin = {"made_by": self.made_by, "source": self.source}
        return content | {key: value for key, value in origin.items() if value is not None}


@dataclass(frozen=True)
class Step:
    """Work to be done once for the content of its inputs, its parameters and the code that does it.

    Attributes:
        name: which step.
        version: of the step's own code; raised by whoever changes what it puts out.
        inputs: name -> content.
        parameters: plain JSON data; everything beside the inputs that its outputs depend on.
        packages: distribution -> version of those whose arithmetic or format shows in the outputs.
        part: what it is done for, where a step is done once per something (the scene's name).
    """

    name: str
    version: int
    inputs: Mapping[str, Artifact]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    part: str | None = None

    @property
    def kind(self) -> str:
        """Kind of its records: what is compared to tell why a step has to be redone."""
        return self.name if self.part is None else f"{self.name}/{self.part}"

    @property
    def title(self) -> str:
        """Name for people."""
        return self.name if self.part is None else f"{self.name} {self.part}"

    @property
    def key(self) -> str:
        """Digest (hex) of everything that decides the outputs; the names and origins of the inputs' content do not."""
        content = {
            "name": self.name,
            "version": self.version,
            "inputs": {name: artifact.sha256 for name, artifact in self.inputs.items()},
            "parameters": self.parameters,
            "packages": self.packages,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


@dataclass(frozen=True)
class StepRecord:
    """A step that was done.

    Attributes:
        step: what it was made from.
        outputs: name (path within what the step wrote) -> content.
        facts: what the step has to say about its outputs: shapes, counts, metrics; plain JSON data.
        seconds: how long it took.
        created_at: UTC, ISO 8601.
        product_version: version of this package that did it.
    """

    step: Step
    outputs: Mapping[str, Artifact]
    facts: Mapping[str, Any]
    seconds: float
    created_at: str
    product_version: str

    @property
    def identity(self) -> str:
        """What its outputs name it by."""
        return f"{self.step.kind}/{self.step.key}"

    def output(self, name: str) -> Artifact:
        """Return an output.

        Raises:
            StoreError: the step wrote no such output.
        """
        try:
            return self.outputs[name]
        except KeyError:
            raise StoreError(
                f"record {self.identity}: has no output {name!r}, only {', '.join(sorted(self.outputs))}; "
                "delete the record and build again"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "format": _FORMAT,
            "step": self.step.name,
            "part": self.step.part,
            "key": self.step.key,
            "version": self.step.version,
            "inputs": {name: artifact.to_dict() for name, artifact in self.step.inputs.items()},
            "parameters": dict(self.step.parameters),
            "packages": dict(self.step.packages),
            "outputs": {name: artifact.to_dict() for name, artifact in self.outputs.items()},
            "facts": dict(self.facts),
            "seconds": self.seconds,
            "created_at": self.created_at,
            "product_version": self.product_version,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> StepRecord:
        """Return the record that :meth:`to_dict` wrote.

        Raises:
            StoreError: a field is missing, or the record is of another format.
        """
        try:
            if _typed(content["format"], int) != _FORMAT:
                raise StoreError(f"record of step {content['step']}: format {content['format']}, expected {_FORMAT}")
            step = Step(
                name=_typed(content["step"], str),
                version=_typed(content["version"], int),
                inputs=_artifacts(content["inputs"]),
                parameters=_typed(content["parameters"], dict),
                packages=_typed(content["packages"], dict),
                part=_typed(content["part"], str, type(None)),
            )
            return cls(
                step=step,
                outputs=_artifacts(content["outputs"]),
                facts=_typed(content["facts"], dict),
                seconds=_typed(content["seconds"], int, float),
                created_at=_typed(content["created_at"], str),
                product_version=_typed(content["product_version"], str),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"record of a step: {error} is missing or of the wrong type; build again") from error


def _artifacts(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Artifact]:
    return {name: _artifact(Artifact(**fields)) for name, fields in content.items()}


def _artifact(artifact: Artifact) -> Artifact:
    _typed(artifact.name, str)
    if not _SHA256.fullmatch(_typed(artifact.sha256, str)):
        raise TypeError(f"sha256 {artifact.sha256[:80]!r}")
    if _typed(artifact.size, int) < 0:
        raise TypeError(f"size {artifact.size}")
    _typed(artifact.made_by, str, type(None))
    _typed(artifact.source, str, type(None))
    return artifact


def _typed(value: Any, *kinds: type) -> Any:
    """Return a value of one of some types; ``bool`` is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{value!r:.80}")
    return value
