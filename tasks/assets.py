"""The assets that steps materialise: one per kind of step in a store; its content changes from build to build."""

from __future__ import annotations

import re
from typing import Any, Final

from prefect.assets import Asset, AssetProperties

from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact, Step, StepRecord

_REFUSED: Final = re.compile(r"""[\s#?&%"'<>\[\]{}|\\^]""")
"""Characters that Prefect does not take in a key."""


def asset_key(store: Store, kind: str) -> str:
    """Return the key of what steps of a kind put out: an address under the store's own."""
    return _REFUSED.sub("_", f"{store.uri}/assets/{kind}")


def step_asset(store: Store, step: Step) -> Asset:
    """Return the asset that a step materialises."""
    properties = AssetProperties(name=step.title, url=store.uri, description=f"What the step {step.title} puts out.")
    return Asset(key=asset_key(store, step.kind), properties=properties)


def upstream_assets(store: Store, step: Step) -> list[str]:
    """Return the keys of what a step is made from, each once: earlier steps' assets, and files from outside."""
    return list(dict.fromkeys(_upstream_key(store, artifact) for artifact in step.inputs.values()))


def asset_metadata(record: StepRecord) -> dict[str, Any]:
    """Return what Prefect is told of a materialised asset: digests, sizes, and the step's own facts."""
    return {
        "step": record.identity,
        "outputs": {name: {"sha256": output.sha256, "size": output.size} for name, output in record.outputs.items()},
        "facts": dict(record.facts),
        "seconds": record.seconds,
    }


def _upstream_key(store: Store, artifact: Artifact) -> str:
    if artifact.made_by is not None:
        return asset_key(store, artifact.made_by.rpartition("/")[0])
    return asset_key(store, f"inputs/{artifact.name}")
