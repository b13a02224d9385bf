"""Layers that a config names and that the converter has no more when it looks for them: it fused them into others.

Which operators it fuses is not documented, and a name that is gone fails the whole build, early. Names that a recipe
chose are wishes; a build goes on without those that are gone. The graph that the failed build left says of every layer
whether it is there, so one more build is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import onnx

from bevformer_lib.pulsar2.build_config import BuildConfig

_ABSENT: Final = re.compile(
    r"not found|not exist|n't exist|no such|not in|unknown|missing|can't find|cannot find|invalid|keyerror|no layer",
    re.IGNORECASE,
)
FUSED_NAME: Final = re.compile(r"^op_\d+:")
"""What fusion puts before the name of the operator that it makes."""


def missing_layers(config: BuildConfig, said: str) -> tuple[str, ...]:
    """Return the layers of ``layer_names`` that a failed build's last lines say are not there."""
    lines = [line for line in said.splitlines() if _ABSENT.search(line)]
    return tuple(name for name in named_layers(config) if any(_is_named(name, line) for line in lines))


def built_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Return layer, as the float graph names it -> its name in the graph that a build left, fused ones included."""
    return {FUSED_NAME.sub("", node.name): node.name for node in graph.node if node.name}


def with_layers(config: BuildConfig, renamed: Callable[[str], str | None]) -> BuildConfig:
    """Return a config whose ``layer_names`` go by other names.

    Args:
        config: the build config.
        renamed: layer -> its name; ``None``: it is named no more. Entries that then name none are left out.
    """
    assert config.quant is not None and config.quant.layer_configs is not None  # noqa: S101 - it named them
    entries = []
    for entry in config.quant.layer_configs:
        if entry.layer_names is None:
            entries.append(entry)
            continue
        kept = [name for name in map(renamed, entry.layer_names) if name is not None]
        if kept:
            entries.append(entry.model_copy(update={"layer_names": list(dict.fromkeys(kept))}))
    return config.model_copy(update={"quant": config.quant.model_copy(update={"layer_configs": entries or None})})


def named_layers(config: BuildConfig) -> tuple[str, ...]:
    """Return all layers of ``layer_names``, each once."""
    entries = (config.quant.layer_configs if config.quant is not None else None) or []
    return tuple(dict.fromkeys(name for entry in entries for name in entry.layer_names or ()))


def read_graph_of_build(folder: Path, files: tuple[str, ...]) -> onnx.GraphProto | None:
    """Read the first graph that a build left, without its weights; ``None``: there is none that can be read."""
    return next((graph for file in files if (graph := read_graph(folder / file)) is not None), None)


def read_graph(path: Path) -> onnx.GraphProto | None:
    """Read a graph that a build left for debugging, without its weights; ``None``: it can't be."""
    # protobuf's DecodeError has no typed home.
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:
        return None
    return graph if graph.node else None


def _is_named(name: str, line: str) -> bool:
    return re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w/-]|\.\w)", line) is not None
