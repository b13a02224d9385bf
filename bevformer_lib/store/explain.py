"""Why a step has to be done: what differs from the last time it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bevformer_lib.store.step import Step

_SHORT = 12
_MOST_NAMED = 3
"""Of each kind: a module that changed shows, however many inputs changed with it."""
_ABSENT = object()


def why_run(step: Step, previous: Step | None) -> str:
    """Return the differences between a step and the last one done of its kind, for people."""
    if previous is None:
        return "not done before"
    parameters = _changes("", _as_stored(previous.parameters), _as_stored(step.parameters))
    changes = [
        *_named("parameters", [*_changed_version(step, previous), *parameters]),
        *_named("inputs", _changes("input ", _digests(previous), _digests(step))),
        *_named("modules and packages", _changes("", previous.packages, step.packages)),
    ]
    return ", ".join(changes) or "its results are gone"


def _named(kind: str, changes: list[str]) -> list[str]:
    unnamed = len(changes) - _MOST_NAMED
    return changes if unnamed <= 0 else [*changes[:_MOST_NAMED], f"{unnamed} more of its {kind}"]


def _changed_version(step: Step, previous: Step) -> list[str]:
    if step.version == previous.version:
        return []
    return [f"code of {step.name} changed (version {previous.version} -> {step.version})"]


def _changes(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        if old is _ABSENT:
            changes.append(f"{prefix}{name} added")
        elif new is _ABSENT:
            changes.append(f"{prefix}{name} removed")
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            changes.extend(_changes(f"{prefix}{name}.", old, new))
        elif old != new:
            changes.append(f"{prefix}{name} changed{_from_to(old, new)}")
    return changes


def _as_stored(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as a record gives them back: tuples are lists there."""
    stored: dict[str, Any] = json.loads(json.dumps(parameters))
    return stored


def _digests(step: Step) -> dict[str, str]:
    return {name: artifact.sha256[:_SHORT] for name, artifact in step.inputs.items()}


def _from_to(old: Any, new: Any) -> str:
    """Return what a value was and is; lists are too long to be read here."""
    return "" if isinstance(old, (list, tuple)) else f" {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 2 * _SHORT else text[: 2 * _SHORT] + "..."
