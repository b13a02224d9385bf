"""Work as plain JSON data, for a worker on another machine: addresses and digests, never content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import to_json

from bevformer_lib.errors import BevformerError
from bevformer_lib.pipeline.work import Work
from bevformer_lib.plain_data import said
from bevformer_lib.store.step import Step

_OUR_CODE: Final = "bevformer_lib"
_STEPS: Final = f"{_OUR_CODE}.pipeline"
_DIGITS: Final = 12
_UPDATE: Final = "install the same version of bevformer-axera on this machine and where the build runs"


class SerializationError(BevformerError):
    """What another machine sent is not work that this version of the product does."""


@dataclass(frozen=True)
class AskedWork:
    """Work that another machine asks for.

    Attributes:
        step: the step as that machine sees it, with its versions of the packages.
    """

    work: Work
    step: Step


def serialize(work: Work) -> dict[str, Any]:
    """Return work as JSON data that :func:`deserialize` understands.

    Raises:
        SerializationError: work of this kind is not sent anywhere.
    """
    if work.pool is None:
        raise SerializationError(f"{work.step.title}: work of this kind stays in the process of the build")
    kind = type(work)
    name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
    return _envelope(kind)(kind=name, work=work, packages=_sent(work.step.packages)).model_dump(mode="json")


def deserialize(content: Mapping[str, Any]) -> AskedWork:
    """Return what :func:`serialize` was given, on another machine.

    Versions of packages may differ, as they do between a board and a server; this product's own code may not.

    Raises:
        SerializationError: the content is not work, or of another version of the product.
    """
    try:
        asked: Any = _envelope(_kind_of(content)).model_validate_json(to_json(content))
    except ValidationError as error:
        raise SerializationError(f"work for this machine can't be read ({said(error)}); {_UPDATE}") from None
    step = asked.work.step
    here, there = _sent(step.packages), asked.packages
    other = sorted(name for name in here.keys() | there.keys() if _is_ours(name) and here.get(name) != there.get(name))
    if other:
        raise SerializationError(f"{step.title}: the code of {', '.join(other)} is another one here; {_UPDATE}")
    code = {name: digest for name, digest in step.packages.items() if _is_ours(name)}
    versions = {name: version for name, version in there.items() if not _is_ours(name)}
    return AskedWork(asked.work, dataclasses.replace(step, packages={**versions, **code}))


def _kind_of(content: Mapping[str, Any]) -> type[Work]:
    """Return the class of work that was sent: one of the modules beside this one."""
    module, _, name = str(content.get("kind")).partition(".")
    try:
        found = getattr(import_module(f"{_STEPS}.{module}"), name)
    except (ImportError, AttributeError):
        found = None
    if not isinstance(found, type) or not issubclass(found, Work) or found is Work:
        raise SerializationError(f"work of the kind {content.get('kind')} is not known here; {_UPDATE}")
    return found


@cache
def _envelope(kind: type[Work]) -> type[BaseModel]:
    """Return what is sent. It is strict, and so are the dataclasses in it: what is misread must not run."""
    strict = ConfigDict(strict=True, extra="forbid", frozen=True)
    return create_model(
        kind.__name__, __config__=strict, kind=(str, ...), work=(kind, ...), packages=(dict[str, str], ...)
    )


def _sent(packages: Mapping[str, str]) -> dict[str, str]:
    """Return versions as they are, and one digest for each of our packages: a run's parameters must stay small."""
    sent = {name: version for name, version in packages.items() if not _is_ours(name)}
    ours: dict[str, list[str]] = {}
    for name, digest in sorted(packages.items()):
        if _is_ours(name):
            ours.setdefault(".".join(name.replace("/", ".").split(".")[:2]), []).append(f"{name} {digest}\n")
    return sent | {name: hashlib.sha256("".join(code).encode()).hexdigest()[:_DIGITS] for name, code in ours.items()}


def _is_ours(name: str) -> bool:
    return name.startswith(_OUR_CODE)
