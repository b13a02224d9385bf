"""What a search writes: Pulsar2 settings, the quantiser's list, the facts, and the trade-off as an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.precision.candidate import CandidateResult, Thresholds
from bevformer_lib.precision.groups import LayerGroup
from bevformer_lib.precision.plot import PlottedCandidate, trade_off_svg
from bevformer_lib.precision.requests import write_overrides
from bevformer_lib.precision.tune import TuneResult, layers_of

FACTS_FILE: Final = "precision.json"
LAYER_CONFIGS_FILE: Final = "layer_configs.yaml"
KEEP_FILE: Final = "keep_float.json"
PLOT_FILE: Final = "trade_off.svg"


def write_outputs(
    result: TuneResult,
    groups: Sequence[LayerGroup],
    thresholds: Thresholds,
    identity: Mapping[str, str],
    folder: Path,
    *,
    findings: Sequence[str] = (),
) -> None:
    """Write everything into ``folder``; settings only where a set was found that holds the thresholds.

    Args:
        result: what was found.
        groups: the modules, as the search began with them.
        thresholds: what had to be held.
        identity: what decided the results.
        folder: gets the files.
        findings: which of the result's requests the converter does not grant.
    """
    total = sum(group.macs for group in groups)
    layers = layers_of(result.groups, result.kept or ())
    facts = {
        "thresholds": dataclasses.asdict(thresholds),
        "made_with": dict(identity),
        "findings": list(findings),
        "minimal": result.minimal,
        "kept": None if result.kept is None else list(result.kept),
        "kept_macs_share": None if result.kept is None else macs_share(groups, layers),
        "groups": [
            {
                "name": group.name,
                "kept": None if result.kept is None else [layer for layer in group.layers if layer in layers],
                "macs": group.macs,
                "error_alone": _finite(result.sensitivity.get(group.name)),
                "layers": list(group.layers),
            }
            for group in groups
        ],
        "macs": total,
        "frames": result.frames,
        "reference_map_nds": result.reference_metrics,
        "candidates": [
            {"kept": list(names), "macs_share": _share(groups, result, names), **dataclasses.asdict(candidate)}
            for names, candidate in result.candidates
        ],
    }
    write_json(folder / FACTS_FILE, facts)
    if result.kept is not None:
        write_overrides(layers, folder / LAYER_CONFIGS_FILE)
        write_json(folder / KEEP_FILE, layers)
    points = [_point(groups, names, candidate, result) for names, candidate in result.candidates]
    with atomic_path(folder / PLOT_FILE) as temporary:
        temporary.write_text(trade_off_svg(points, thresholds.min_cosine), encoding="utf-8")


def macs_share(groups: Sequence[LayerGroup], layers: Collection[str]) -> float:
    """Return the share of the groups' multiply-accumulates that these layers hold."""
    total = sum(group.macs for group in groups)
    singles = [single for group in groups for single in group.split()]
    return sum(one.macs for one in singles if one.layers[0] in layers) / total if total else 0.0


def _share(groups: Sequence[LayerGroup], result: TuneResult, names: Sequence[str]) -> float:
    return macs_share(groups, layers_of((*groups, *result.groups), names))


def _point(
    groups: Sequence[LayerGroup], names: Sequence[str], candidate: CandidateResult, result: TuneResult
) -> PlottedCandidate:
    return PlottedCandidate(
        macs_share=_share(groups, result, names),
        worst_cosine=candidate.worst_cosine,
        passed=candidate.passed,
        complete=candidate.frames == result.frames,
        chosen=result.kept is not None and set(names) == set(result.kept),
        label=", ".join(names) or "nothing kept",
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
