"""Work as plain JSON data, for a worker on another machine: addresses and digests, never content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bevformer_lib.errors import BevformerError
from bevformer_lib.pipeline.calibrate import PrevBevWork
from bevformer_lib.pipeline.convert import ConvertWork
from bevformer_lib.pipeline.diagnose import DiagnoseWork
from bevformer_lib.pipeline.evaluate import EvaluateWork
from bevformer_lib.pipeline.export import ExportWork
from bevformer_lib.pipeline.measure import TensorsWork
from bevformer_lib.pipeline.record import RecordTrialsWork, RecordWork
from bevformer_lib.pipeline.work import Work
from bevformer_lib.store.step import Step

_OUR_CODE: Final = "bevformer_lib"
_DIGITS: Final = 12


class WireError(BevformerError):
    """What came over the wire is not work that this version of the product does."""


class _Sent(BaseModel):
    """Strict, and so are the dataclasses in it: what one version sends and another misreads must not run."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    packages: dict[str, str]


class _Export(_Sent):
    kind: Literal["export"] = "export"
    work: ExportWork


class _Histories(_Sent):
    kind: Literal["calibration-histories"] = "calibration-histories"
    work: PrevBevWork


class _Convert(_Sent):
    kind: Literal["convert"] = "convert"
    work: ConvertWork


class _Record(_Sent):
    kind: Literal["record"] = "record"
    work: RecordWork


class _RecordTrials(_Sent):
    kind: Literal["record-trials"] = "record-trials"
    work: RecordTrialsWork


class _Evaluate(_Sent):
    kind: Literal["evaluate"] = "evaluate"
    work: EvaluateWork


class _Diagnose(_Sent):
    kind: Literal["diagnose"] = "diagnose"
    work: DiagnoseWork


class _Tensors(_Sent):
    kind: Literal["tensors"] = "tensors"
    work: TensorsWork


_Any: TypeAlias = _Export | _Histories | _Convert | _Record | _RecordTrials | _Evaluate | _Diagnose | _Tensors
_ENVELOPES: Final[Mapping[type, type[_Any]]] = {
    ExportWork: _Export,
    PrevBevWork: _Histories,
    ConvertWork: _Convert,
    RecordWork: _Record,
    RecordTrialsWork: _RecordTrials,
    EvaluateWork: _Evaluate,
    DiagnoseWork: _Diagnose,
    TensorsWork: _Tensors,
}
_ADAPTER: Final[TypeAdapter[_Any]] = TypeAdapter(Annotated[_Any, Field(discriminator="kind")])


@dataclass(frozen=True)
class AskedWork:
    """Work that another machine asks for.

    Attributes:
        work: what to do.
        step: the step as that machine sees it, with its versions of the packages.
    """

    work: Work
    step: Step


def to_wire(work: Work) -> dict[str, Any]:
    """Return work as JSON data that :func:`from_wire` understands.

    Raises:
        WireError: work of this kind is not sent anywhere.
    """
    envelope = _ENVELOPES.get(type(work))
    if envelope is None:
        raise WireError(f"{work.step.title}: work of this kind stays in the process of the build")
    content: dict[str, Any] = envelope.model_validate({"work": work, "packages": _sent(work.step.packages)}).model_dump(
        mode="json"
    )
    return content


def from_wire(content: Mapping[str, Any]) -> AskedWork:
    """Return what :func:`to_wire` was given, on another machine.

    Versions of packages may differ, as they do between a board and a server; this product's own code may not.

    Raises:
        WireError: the content is not work, or of another version of the product.
    """
    try:
        asked = _ADAPTER.validate_json(json.dumps(content))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
        raise WireError(f"work for this machine can't be read ({wrong}); {_UPDATE}") from None
    step = asked.work.step
    here, there = _sent(step.packages), dict(asked.packages)
    other = sorted(name for name in here.keys() | there.keys() if _is_ours(name) and here.get(name) != there.get(name))
    if other:
        raise WireError(f"{step.title}: the code of {', '.join(other)} is another one here; {_UPDATE}")
    code = {name: digest for name, digest in step.packages.items() if _is_ours(name)}
    versions = {name: version for name, version in there.items() if not _is_ours(name)}
    return AskedWork(asked.work, dataclasses.replace(step, packages={**versions, **code}))


_UPDATE: Final = "install the same version of bevformer-axera on this machine and where the build runs"


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
