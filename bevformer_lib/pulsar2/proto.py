"""The definition of the build config as the installed converter has it: text of ``build_config.proto``.

The documentation prints an old one; the file in the image is what its parser goes by, so where it can be read it
decides over the copy in :mod:`~bevformer_lib.pulsar2.build_config`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

ROOT_MESSAGE: Final = "BuildConfig"
_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_BLOCK: Final = re.compile(r"\b(message|enum)\s+(\w+)\s*\{")
_FIELD: Final = re.compile(
    r"(?:\b(repeated|optional|required)\s+)?(?<![\w.])(\.?[\w.]+)\s+(\w+)\s*=\s*\d+\s*(?:\[[^\]]*\])?;"
)
_VALUE: Final = re.compile(r"\b(\w+)\s*=\s*-?\d+\s*(?:\[[^\]]*\])?;")
_ONEOF: Final = re.compile(r"\boneof\s+\w+\s*\{([^{}]*)\}")
_MAP: Final = re.compile(r"\bmap\s*<[^>]*>\s*(\w+)\s*=")
_FREE: Final = frozenset({"Struct", "Value", "Any", "ListValue"})


@dataclass(frozen=True)
class ProtoField:
    """A field of a message.

    Attributes:
        type: name of its type, without packages.
        repeated: whether it holds a list.
    """

    type: str
    repeated: bool


@dataclass(frozen=True)
class ProtoSchema:
    """Messages and enumerations by name.

    Attributes:
        messages: message -> field -> what it holds.
        enums: enumeration -> names of its values.
    """

    messages: Mapping[str, Mapping[str, ProtoField]]
    enums: Mapping[str, frozenset[str]]

    def defects(self, content: Mapping[str, Any]) -> list[str]:
        """Return what of a build config the definition does not hold, one sentence with the key each."""
        return list(self._defects(content, ROOT_MESSAGE, ""))

    def _defects(self, content: Mapping[str, Any], message: str, path: str) -> Iterator[str]:
        fields = self.messages[message]
        by_json_name = {json_name(name): name for name in fields}
        for key, value in content.items():
            place = f"{path}.{key}" if path else str(key)
            field = fields.get(key) or fields.get(by_json_name.get(key, ""))
            if field is None:
                yield f"{place}: message {message} has no such field"
                continue
            entries = value if field.repeated and isinstance(value, list) else [value]
            for index, entry in enumerate(entries):
                inner = f"{place}.{index}" if field.repeated else place
                if field.type in self.messages and isinstance(entry, Mapping):
                    yield from self._defects(entry, field.type, inner)
                elif field.type in self.enums and isinstance(entry, str) and entry not in self.enums[field.type]:
                    known = ", ".join(sorted(self.enums[field.type]))
                    yield f"{inner}: {field.type} has no value {entry!r}; it has {known}"


def json_name(field: str) -> str:
    """Return how protobuf's JSON spells a field: ``layer_configs`` -> ``layerConfigs``."""
    first, *others = field.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others)


def parse_proto(text: str) -> ProtoSchema | None:
    """Read messages and enumerations from the text of one or more definitions.

    Returns:
        What they hold; ``None``: no message ``BuildConfig`` is among them.
    """
    messages: dict[str, dict[str, ProtoField]] = {}
    enums: dict[str, frozenset[str]] = {}
    for kind, name, body in _blocks(_ONEOF.sub(r"\1", _COMMENT.sub("", text))):
        if kind == "enum":
            enums[name] = frozenset(_VALUE.findall(body))
        else:
            messages[name] = {
                field: ProtoField(type_name.rpartition(".")[2], label == "repeated")
                for label, type_name, field in _FIELD.findall(body)
            }
            # map<string, T> reads like a message whose keys are free.
            for field in _MAP.findall(body):
                messages[name][field] = ProtoField("Struct", repeated=False)
    if ROOT_MESSAGE not in messages:
        return None
    return ProtoSchema({name: fields for name, fields in messages.items() if name not in _FREE}, enums)


def _blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield kind, name and body of every block; bodies without the blocks inside them."""
    for start in _BLOCK.finditer(text):
        depth, place = 1, start.end()
        own: list[str] = []
        while place < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 1 and text[place] != "}":
                own.append(text[place])
            place += 1
        yield start[1], start[2], "".join(own)
