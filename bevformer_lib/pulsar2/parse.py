"""Plain data becomes a build config, or errors that name every wrong key."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.errors import BuildConfigError
from bevformer_lib.pulsar2.nested import dotted, take
from bevformer_lib.pulsar2.proto import json_name

_UNKNOWN: Final = frozenset({"extra_forbidden", "literal_error"})
"""Defects that a newer definition may not find."""


def parse_build_config(content: Mapping[str, Any], source: str, *, keep_unknown: bool = False) -> BuildConfig:
    """Check a build config.

    Args:
        content: its plain data; keys may also be spelled as protobuf's JSON has them (``layerConfigs``).
        source: the file (or what else it came from), to name in errors.
        keep_unknown: whether keys and values that are not known here are kept, for the definition of the installed
            converter to judge.

    Raises:
        BuildConfigError: with every defect, each naming its key.
    """
    known = snake_case_keys(dict(content), BuildConfig, source)
    try:
        return BuildConfig.model_validate(known)
    except ValidationError as error:
        defects = error.errors()
        if keep_unknown and all(defect["type"] in _UNKNOWN for defect in defects):
            kept = copy.deepcopy(known)
            beyond = [(defect["loc"], take(kept, defect["loc"])) for defect in defects]
            config = parse_build_config(kept, source)
            config._beyond = tuple(beyond)
            return config
        lines = [f"  - {dotted(defect['loc'])}: {_sentence(defect)}" for defect in defects]
        raise BuildConfigError(
            f"{source}: this is no build config that Pulsar2 accepts; correct it\n" + "\n".join(lines)
        ) from error


def snake_case_keys(content: Any, message: type[BaseModel], source: str, path: str = "") -> Any:
    """Return content with the keys of a message, and of the messages in it, spelled as the message has them.

    Raises:
        BuildConfigError: a key is given in both spellings.
    """
    if not isinstance(content, Mapping):
        return content
    by_json_name = {json_name(name): name for name in message.model_fields}
    result: dict[Any, Any] = {}
    for key, value in content.items():
        name = by_json_name.get(key, key)
        place = f"{path}.{key}" if path else str(key)
        if name in result:
            raise BuildConfigError(f"{source}: {place}: is {name} in another spelling, which is given too; remove one")
        inner = _message_of(message.model_fields[name].annotation) if name in message.model_fields else None
        if inner is None:
            result[name] = value
        elif isinstance(value, list):
            result[name] = [snake_case_keys(entry, inner, source, f"{place}.{i}") for i, entry in enumerate(value)]
        else:
            result[name] = snake_case_keys(value, inner, source, place)
    return result


def _message_of(annotation: Any) -> type[BaseModel] | None:
    """Return the message that a field holds, or a list of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_message_of, get_args(annotation))), None)


def _sentence(defect: Mapping[str, Any]) -> str:
    if defect["type"] == "extra_forbidden":
        return "unknown key"
    message = str(defect["msg"]).removeprefix("Value error, ")
    return message if defect["type"] == "value_error" else f"{message}; found {defect['input']!r}"
