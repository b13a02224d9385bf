"""What a step is made from, and the record of one that was done."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bevformer_lib.errors import StoreError
from bevformer_lib.plain_data import from_plain, to_plain

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

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"{self.sha256[:80]!r} is no sha256")
        if self.size < 0:
            raise ValueError(f"{self.size} is no size")


@dataclass(frozen=True)
class Step:
    """Work to be done once for the content of its inputs, its parameters and the code that does it.

    Attributes:
        name: which step.
        version: of the step's own code; raised by hand when its output changes.
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
        """Return plain JSON data, with what it was made from on top."""
        content = to_plain(self)
        step = content.pop("step")
        return {"format": _FORMAT, "step": step.pop("name"), "key": self.step.key, **step, **content}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> StepRecord:
        """Return the record that :meth:`to_dict` wrote.

        Raises:
            StoreError: a field is missing or of another type, or the record is of another format.
        """
        found = content.get("format")
        if type(found) is not int or found != _FORMAT:
            raise StoreError(f"record of a step: has format {found!r:.80}, expected {_FORMAT}; build again")
        try:
            return from_plain(cls, {**content, "step": {**content, "name": content.get("step")}})
        except ValueError as error:
            raise StoreError(f"record of a step: {error}; build again") from None
