"""How a run reaches the hub, the store and other machines: names of secrets, never secrets."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_BLOCK_NAME = r"^([a-z0-9]+(-[a-z0-9]+)*)?$"
"""What Prefect takes as a block's name; it also keeps most pasted secrets out. What forms leave empty is none."""

_AS_NONE = AfterValidator(lambda name: name or None)


def in_order(schema: dict[str, Any]) -> None:
    """Number a schema's fields, so that a form shows them in this order: PostgreSQL keeps none."""
    for position, field in enumerate(schema["properties"].values()):
        field["position"] = position


class RunSettings(BaseModel):
    """What a run needs beside what it makes; no part of any step."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    hub_token_block: Annotated[
        str | None,
        Field(description="Name of a Secret block with a HuggingFace token; empty: HF_TOKEN.", pattern=_BLOCK_NAME),
        _AS_NONE,
    ] = None
    s3_block: Annotated[
        str | None,
        Field(
            description="Name of an AWS Credentials or MinIO Credentials block; empty: the environment, as every AWS "
            "client.",
            pattern=_BLOCK_NAME,
        ),
        _AS_NONE,
    ] = None
    pick_up_seconds: Annotated[
        float,
        Field(description="Fail when no worker takes a child run for so long, s.", gt=0, le=24 * 3600.0),
    ] = 120.0
