"""The policy: a YAML file of gates, read and checked once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from bevformer_lib.errors import ConfigError
from bevformer_lib.gates.expression import Expression, parse
from bevformer_lib.gates.metrics import metric_names
from bevformer_lib.strict_yaml import read_yaml

DEFAULT_POLICY: Final = Path(__file__).with_name("default.yaml")
DEMO_POLICY: Final = Path(__file__).with_name("demo.yaml")


class Gate(BaseModel):
    """One gate.

    Attributes:
        gate: its sentence, see :mod:`bevformer_lib.gates.expression`.
        required: whether it fails where there is nothing to compute it from; else it does not apply there.
        cause: what usually makes it fail, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    gate: str
    required: bool = False
    cause: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_sentence(cls, content: Any) -> Any:
        return {"gate": content} if isinstance(content, str) else content

    @field_validator("gate")
    @classmethod
    def _understood(cls, gate: str) -> str:
        parse(gate)
        return gate

    @property
    def expression(self) -> Expression:
        """The sentence, understood."""
        return parse(self.gate)


class Policy(BaseModel):
    """What a build has to keep.

    Attributes:
        gates: in the order in which failures are told: those that name a cause go first.
        extends: ``default``: in the file, these gates follow those of the default policy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    gates: list[Gate]
    extends: Literal["default"] | None = None


def read_policy(path: Path, class_names: Sequence[str]) -> Policy:
    """Read a policy, with the gates that it extends, and check that it asks for metrics that builds of a model have.

    Raises:
        ConfigError: with every defect: the file, the key, and what is wrong.
    """
    try:
        policy = Policy.model_validate(read_yaml(path))
    except ValidationError as error:
        defects = [f"{_place(defect['loc'])}: {defect['msg']}" for defect in error.errors()]
        raise ConfigError(_listed(path, defects)) from error
    except ValueError as error:
        raise ConfigError(f"{path}: can't be read as a policy: it {error}; correct it") from error
    defects = _unknown(policy, metric_names(class_names))
    if defects:
        raise ConfigError(_listed(path, defects))
    if policy.extends is None:
        return policy
    default = Policy.model_validate(read_yaml(DEFAULT_POLICY))
    return Policy(name=policy.name, gates=[*default.gates, *policy.gates])


def _unknown(policy: Policy, known: Sequence[str]) -> list[str]:
    defects = []
    for number, gate in enumerate(policy.gates):
        name = gate.expression.metric
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known, 3, 0.4)) or known[0]
            defects.append(f"gates[{number}].gate: no build has the metric {name}; near it: {near}")
    return defects


def _place(location: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".") or "the file"


def _listed(path: Path, defects: Sequence[str]) -> str:
    lines = "\n".join(f"  - {defect}" for defect in defects)
    return f"{path}: this policy has defects; correct them:\n{lines}"
