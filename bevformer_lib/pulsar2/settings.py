"""Settings of Pulsar2, declared once: from them come the form's fields, options of commands, keys of steps."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bevformer_lib.pulsar2.build_config import NpuMode

RecipeName = Literal["vendor-tiny", "int8", "w8a16", "all-u16", "mixed"]
DEFAULT_RECIPE: Final[RecipeName] = "mixed"
"""Of Pulsar2 and its emulator."""


class Use(Enum):
    """Marks a setting that an emulation has no use for."""

    COMPILER = "decides what is compiled"
    MACHINE = "says where and how long a build runs, and not what comes out: no part of a step's key"


class Pulsar2Settings(BaseModel):
    """How Pulsar2 converts; what is not given is the recipe's or the tool's own choice.

    Fields without a :class:`Use` are settings of quantisation, which an emulation obeys too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Annotated[
        RecipeName,
        Field(description="Pulsar2, emulator: named settings of quantisation."),
        BeforeValidator(lambda name: name or DEFAULT_RECIPE),
    ] = DEFAULT_RECIPE
    npu_mode: Annotated[
        NpuMode | None,
        Field(description="Pulsar2: cores to compile for, without it all that the chip has."),
        Use.COMPILER,
    ] = None
    image: Annotated[
        str | None,
        Field(description="Pulsar2: docker image, without it a native pulsar2 on the path, else pulsar2:4.2."),
        Use.COMPILER,
    ] = None
    executable: Annotated[
        Path | None,
        Field(description="Pulsar2: native command instead of docker."),
        Parameter(name="--pulsar2"),
        Use.MACHINE,
    ] = None
    time_limit_minutes: Annotated[
        float | None,
        Field(description="Pulsar2: stop the conversion after this time, without it 360.", gt=0, le=1e6),
        Use.MACHINE,
    ] = None
    memory_limit_gb: Annotated[
        float | None,
        Field(description="Pulsar2: most memory of the conversion, without it no limit.", gt=0, le=1e6),
        Use.MACHINE,
    ] = None

    def given(self, *uses: Use | None) -> dict[str, Any]:
        """Return the settings of these uses that differ from their defaults, as JSON data; ``None``: quantisation."""
        return self.model_dump(mode="json", include=settings_for(*uses), exclude_defaults=True)


def settings_for(*uses: Use | None) -> set[str]:
    """Return the names of the settings of these uses; ``None``: of quantisation."""
    return {
        name
        for name, declared in Pulsar2Settings.model_fields.items()
        if next((mark for mark in declared.metadata if isinstance(mark, Use)), None) in uses
    }
