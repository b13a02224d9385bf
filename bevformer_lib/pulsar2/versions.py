"""What differs between versions of the converter, in one place: chosen by what `pulsar2 version` says.

4.2 is known from its documentation alone; no measurements of it are published. 7.0 is known from its documentation and
from what third parties saw (6.0-lite and 7.0-lite). The keys of the build config are the same in every documentation
from 4.1 on, but for those that 7.0 adds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.errors import BuildConfigError
from bevformer_lib.pulsar2.proto import ProtoSchema
from bevformer_lib.pulsar2.recipes import FLOAT_OPS

_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Dialect:
    """How a range of versions is spoken to.

    Attributes:
        since: the first version (major, minor) that it holds for.
        hardware: chips that it compiles for.
        absent_keys: keys of the build config that it does not know, without places in lists.
        config_protos: where its image keeps the definition of the build config; the first that is there counts.
        frontend_graphs: files of the float graph after its optimisations, under the output folder, the best first.
        dumps_frontend_graph: whether it was seen to take ``--debug.dump_frontend_graph``.
        float_ops: operator types that become float for being asked: documented, or seen to.
        float_fails: operator types for which FP32 was seen to fail the build.
        float_without_effect: operator types for which FP32 was seen to change no bit.
    """

    since: tuple[int, int]
    hardware: frozenset[str]
    absent_keys: frozenset[str]
    config_protos: tuple[str, ...]
    frontend_graphs: tuple[str, ...]
    dumps_frontend_graph: bool
    float_ops: frozenset[str]
    float_fails: frozenset[str]
    float_without_effect: frozenset[str]

    @property
    def name(self) -> str:
        """Its first version, as people write it."""
        return f"{self.since[0]}.{self.since[1]}"


_ADDED_IN_7: Final = frozenset({"input_processors.scale", "input_processors.zeropoint"})
_FLOAT_FAILS: Final = frozenset({"AveragePool", "Erf", "GlobalAveragePool", "LayerNormalization"})
_UNTIL_6: Final = "/opt/pulsar2/yamain/config/build_config.proto"
_SINCE_7: Final = "/opt/pulsar2/axnn/yamain/config/build_config.proto"
_OLD_HARDWARE: Final = frozenset({"AX650", "AX620E", "AX615", "M76H", "M57"})
_OPTIMIZED: Final = "frontend/optimized.onnx"
_DUMPED: Final = ("frontend/optimized_quant_axmodel.onnx", "frontend/optimzied_quant_axmodel.onnx")
"""As the tool spells it, and as its documentation does."""

DIALECTS: Final = (
    Dialect(
        since=(4, 2),
        hardware=_OLD_HARDWARE,
        absent_keys=_ADDED_IN_7,
        config_protos=(_UNTIL_6, _SINCE_7),
        frontend_graphs=(_OPTIMIZED,),
        dumps_frontend_graph=False,
        float_ops=FLOAT_OPS,
        float_fails=frozenset(),
        float_without_effect=frozenset(),
    ),
    Dialect(
        since=(6, 0),
        hardware=_OLD_HARDWARE,
        absent_keys=_ADDED_IN_7,
        config_protos=(_UNTIL_6, _SINCE_7),
        frontend_graphs=(_OPTIMIZED, *_DUMPED),
        dumps_frontend_graph=True,
        float_ops=FLOAT_OPS,
        float_fails=_FLOAT_FAILS,
        float_without_effect=frozenset({"ReduceMean", "Softmax", "Sqrt"}),
    ),
    Dialect(
        since=(7, 0),
        hardware=_OLD_HARDWARE | {"AX637", "AX8860"},
        absent_keys=frozenset(),
        config_protos=(_SINCE_7, _UNTIL_6),
        frontend_graphs=(_OPTIMIZED, *_DUMPED),
        dumps_frontend_graph=True,
        float_ops=FLOAT_OPS | {"MatMul", "Neg", "ReduceSum", "Sqrt"},
        float_fails=_FLOAT_FAILS,
        float_without_effect=frozenset(),
    ),
)
"""The oldest first."""
_BY_VERSION: Final[Mapping[tuple[int, int], Dialect]] = MappingProxyType({each.since: each for each in DIALECTS})


def dialect_of(version: str) -> Dialect:
    """Return how to speak to a version: the newest dialect that is not newer than it, else the oldest.

    Args:
        version: as `pulsar2 version` says, such as ``7.0`` or ``4.2-patch1``.
    """
    found = _NUMBERS.search(version)
    if found is None:
        return DIALECTS[-1]
    numbers = (int(found[1]), int(found[2]))
    return next((each for each in reversed(DIALECTS) if each.since <= numbers), DIALECTS[0])


def version_findings(version: str) -> list[str]:
    """Say where nothing is known of a version and a neighbour's dialect is spoken."""
    found = _NUMBERS.search(version)
    if found is not None and (int(found[1]), int(found[2])) in _BY_VERSION:
        return []
    return [
        f"nothing was published about Pulsar2 {version}; it is spoken to as {dialect_of(version).name}: "
        "look at its log and at what was built"
    ]


def refuse_unknown(
    config: BuildConfig, *, dialect: Dialect, installed: ProtoSchema | None, version: str, source: str
) -> None:
    """Refuse what a converter does not take, before it is asked to build.

    Args:
        config: the build config.
        dialect: of the converter's version.
        installed: the definition of the build config that the converter itself has: where it can be read, it alone
            decides which keys and values there are; ``None``: it can't be.
        version: as `pulsar2 version` says.
        source: where the config comes from, to name in errors.

    Raises:
        BuildConfigError: naming each.
    """
    if installed is not None:
        defects = [f"{defect} (the installed build_config.proto)" for defect in installed.defects(config.to_content())]
    else:
        keys = dict.fromkeys(key for key in _keys(config.to_content()) if key in dialect.absent_keys)
        defects = [*config.beyond, *(f"{key}: Pulsar2 {version} does not know this key" for key in keys)]
        if config.target_hardware is not None and config.target_hardware not in dialect.hardware:
            known = ", ".join(sorted(dialect.hardware))
            defects.append(
                f"target_hardware: Pulsar2 {version} does not compile for {config.target_hardware}; it does for {known}"
            )
    if defects:
        raise BuildConfigError(
            f"{source}: this is no build config that Pulsar2 {version} accepts; correct it\n"
            + "\n".join(f"  - {defect}" for defect in defects)
        )


def _keys(content: Any, path: str = "") -> list[str]:
    if isinstance(content, list):
        return [key for entry in content for key in _keys(entry, path)]
    if not isinstance(content, Mapping):
        return []
    here = [f"{path}.{key}" if path else key for key in content]
    return here + [key for name, value in zip(here, content.values(), strict=True) for key in _keys(value, name)]
