"""YAML from files: what JSON can say, in YAML's form; one kind of error, whatever is wrong."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import yaml

from bevformer_lib.strict_json import MAX_DEPTH
from bevformer_lib.text_file import read_text

MAX_BYTES: Final = 1 << 20
"""Settings and policies that people write have a few kilobytes."""
MAX_VALUES: Final = 100_000
"""Values of a file, those behind its aliases counted as often as they are used."""
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Without dates, which nothing here means: ``2024-01-01`` stays a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own form)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, unless it lies too deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _RefusedError(f"is nested deeper than {MAX_DEPTH} levels")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _RefusedError(ValueError):
    pass


def parse_yaml(text: str) -> Any:
    """Return what a YAML text holds: mappings with texts as keys, lists, texts, finite numbers, booleans, nothing.

    Raises:
        ValueError: it is not YAML, or holds something else; said as the end of a sentence that starts with its name.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"is larger than {MAX_BYTES} bytes")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, {}, frozenset())
        return _plain(loader.construct_document(node))
    except _RefusedError:
        raise
    except RecursionError as error:
        raise ValueError(f"is nested deeper than {MAX_DEPTH} levels") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"is not valid YAML: {' '.join(str(error).split())}") from error


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ValueError: it can't be read, or see :func:`parse_yaml`.
    """
    return parse_yaml(read_text(path, MAX_BYTES))


def _check(node: yaml.Node, counts: dict[int, int], above: frozenset[int]) -> int:
    """Return how many values a node holds; refuse keys given twice, and aliases that go round or grow without end."""
    if id(node) in above:
        raise _RefusedError("holds an alias of what it lies in")
    if id(node) in counts:
        return counts[id(node)]
    below = above | {id(node)}
    total = 1
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _RefusedError(f"has a key that is no text, in line {key.start_mark.line + 1}")
            if key.value in keys:
                raise _RefusedError(
                    f"holds the key {key.value!r} twice, the second time in line {key.start_mark.line + 1}"
                )
            keys.add(key.value)
            total += _check(value, counts, below)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_check(value, counts, below) for value in node.value)
    if total > MAX_VALUES:
        raise _RefusedError(f"holds more than {MAX_VALUES} values")
    counts[id(node)] = total
    return total


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        for key in content:
            if not isinstance(key, str):
                raise _RefusedError(f"has the key {key!r:.80}, which is no text; put it in quotes")
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        raise _RefusedError(f"holds {content}; every number must be finite")
    if content is None or isinstance(content, (str, int, float)):
        return content
    raise _RefusedError(f"holds {content!r:.80}, which JSON can't say; put it in quotes")
