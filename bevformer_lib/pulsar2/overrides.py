"""A user's own settings over a generated build config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeGuard

from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.errors import BuildConfigError
from bevformer_lib.pulsar2.parse import snake_case_keys
from bevformer_lib.strict_yaml import MAX_BYTES, parse_yaml
from bevformer_lib.text_file import read_text

OWN_KEYS: Final = ("input", "output_dir", "output_name", "work_dir", "model_type", "target_hardware")
"""Set by the conversion itself, from its arguments."""
_NAMED: Final = "tensor_name"
_VENDORS_COMMENT: Final = re.compile(r"""("(?:\\.|[^"\\\n])*"|'[^'\n]*')|(?<![^\s,{}\[\]])//[^\n]*""")
"""Texts in quotes, which are kept, or ``//`` to the end of the line: so the vendor's documentation comments JSON."""


def read_overrides(path: Path) -> dict[str, Any]:
    """Read overrides from a YAML (or JSON) file with the structure of the build config.

    Keys may be spelled as protobuf's JSON has them (``layerConfigs``); they are given back as ``layer_configs``.

    Raises:
        BuildConfigError: the file can't be read, is no mapping of names, or sets what the conversion sets itself.
    """
    try:
        content = parse_yaml(_VENDORS_COMMENT.sub(lambda found: found[1] or "", read_text(path, MAX_BYTES)))
    except ValueError as error:
        raise BuildConfigError(f"{path}: {error}; correct it") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BuildConfigError(f"{path}: must hold keys of the build config, such as quant; found {content!r:.80}")
    spelled: dict[str, Any] = snake_case_keys(content, BuildConfig, str(path))
    for key in OWN_KEYS:
        if key in spelled:
            raise BuildConfigError(f"{path}: {key}: is set by the conversion; use its arguments and remove the key")
    return spelled


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``overrides``.

    Mappings are merged. So are lists whose entries are told apart by their ``tensor_name``; any other list, such as
    ``layer_configs``, replaces the one below it.
    """
    merged = dict(base)
    for key, value in overrides.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value)
        elif _is_named(below) and _is_named(value):
            merged[key] = _merge_named(below, value)
        else:
            merged[key] = value
    return merged


def _is_named(value: Any) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) and _NAMED in v for v in value)


def _merge_named(base: list[Mapping[str, Any]], overrides: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    entries = {entry[_NAMED]: dict(entry) for entry in base}
    for entry in overrides:
        entries[entry[_NAMED]] = merge(entries.get(entry[_NAMED], {}), entry)
    return list(entries.values())
