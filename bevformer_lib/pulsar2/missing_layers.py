"""Layers that a config names and that the converter has no more when it looks for them: it fused them into others.

Which operators it fuses is not documented, and a name that is gone fails the whole build, early. Names that a recipe
chose are wishes; a build goes on without those that the failure names.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from bevformer_lib.pulsar2.build_config import BuildConfig

MOST_ATTEMPTS: Final = 20
_ABSENT: Final = re.compile(
    r"not found|not exist|n't exist|no such|not in|unknown|missing|can't find|cannot find|invalid|keyerror|no layer",
    re.IGNORECASE,
)


def missing_layers(config: BuildConfig, said: str) -> tuple[str, ...]:
    """Return the layers of ``layer_names`` that a failed build's last lines say are not there."""
    lines = [line for line in said.splitlines() if _ABSENT.search(line)]
    return tuple(name for name in dict.fromkeys(_names(config)) if any(_is_named(name, line) for line in lines))


def without_layers(config: BuildConfig, gone: Collection[str]) -> BuildConfig:
    """Return a config that names these layers no more; entries that then name none are left out."""
    assert config.quant is not None and config.quant.layer_configs is not None  # noqa: S101 - it named them
    entries = []
    for entry in config.quant.layer_configs:
        kept = [name for name in entry.layer_names or () if name not in gone]
        if entry.layer_names is None:
            entries.append(entry)
        elif kept:
            entries.append(entry.model_copy(update={"layer_names": kept}))
    return config.model_copy(update={"quant": config.quant.model_copy(update={"layer_configs": entries or None})})


def _names(config: BuildConfig) -> list[str]:
    entries = (config.quant.layer_configs if config.quant is not None else None) or []
    return [name for entry in entries for name in entry.layer_names or ()]


def _is_named(name: str, line: str) -> bool:
    return re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w/-]|\.\w)", line) is not None
