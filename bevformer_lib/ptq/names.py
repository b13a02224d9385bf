"""The passes by name; without ONNX, so that command lines and forms start quickly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

EQUALIZE_CONVOLUTIONS: Final = "equalize-convolutions"
MIGRATE_SCALES: Final = "migrate-scales"
LEARN_ROUNDING: Final = "learn-rounding"
PASSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        EQUALIZE_CONVOLUTIONS: "bevformer_lib.ptq.equalize_convolutions",
        MIGRATE_SCALES: "bevformer_lib.ptq.migrate_scales",
        LEARN_ROUNDING: "bevformer_lib.ptq.learn_rounding",
    }
)
"""Pass -> its module, in the order in which they run.

A module gives ``apply(model, runs)``, which returns a changed copy of the model and facts about the change: plain JSON
data, with a ``summary`` for people.
"""
DEFAULT_PASSES: Final = (LEARN_ROUNDING,)


def as_they_run(passes: Collection[str]) -> tuple[str, ...]:
    """Return passes as they run, each once, whatever the order that they were named in."""
    return tuple(name for name in PASSES if name in passes)
