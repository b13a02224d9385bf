"""What a build wrote down of its numbers: ``quant/quant_axmodel.json`` and ``quant/quant_axmodel.onnx``.

The record gives, for every operator and each of its tensors, bits, bounds of the codes, and a key into a table of
scales and zero points. The graph beside it is the one that is compiled: a tensor that is not in it was fused away and
is never rounded, whatever the record says of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx

from bevformer_lib.errors import ConversionError
from bevformer_lib.strict_json import read_json

QUANTIZATION_RECORD: Final = "quant_axmodel.json"
QUANTIZED_GRAPH: Final = "quant_axmodel.onnx"
_FOLDER: Final = "quant"
FLOAT_BITS: Final = 32
"""Bits of tensors that are not rounded."""
_KEYS_OF_A_BUILD: Final = frozenset({"hash", "dominator"})
"""Keys of a record's own table, which mean nothing outside it."""
_PREFIX: Final = re.compile(r"^op_\d+:")


@dataclass(frozen=True)
class RecordedNumbers:
    """How a tensor is kept for one operator.

    Attributes:
        bits: 8, 16, or 32 for float.
        scales: one, or one per channel; empty in float.
        zero_points: as many.
        per_channel: whether there is one scale per channel.
    """

    bits: int
    low: int
    high: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    per_channel: bool

    @property
    def is_float(self) -> bool:
        """Whether the tensor is not rounded."""
        return self.bits == FLOAT_BITS or not self.scales


@dataclass(frozen=True)
class QuantizationRecord:
    """The numbers of a build.

    Attributes:
        operators: operator, without the number that fusion puts before it -> tensor -> its numbers there.
        kept: tensors of the compiled graph; ``None``: that graph is not there.
    """

    path: Path
    operators: Mapping[str, Mapping[str, RecordedNumbers]]
    kept: frozenset[str] | None

    def of_tensor(self, name: str) -> RecordedNumbers | None:
        """Return the first numbers recorded for a tensor, whichever operator they are for."""
        found = (tensors[name] for tensors in self.operators.values() if name in tensors)
        return next((numbers for numbers in found if not numbers.is_float), None)


def numbers_sha256(path: Path) -> str:
    """Return a digest of what a record says, for comparing builds: the same graph built again has the same.

    The ``.axmodel`` is no measure of that: its program differs from build to build in a few bytes.

    Raises:
        ConversionError: it can't be read.
    """
    try:
        content = read_json(path)
        values = content.get("values", {}) if isinstance(content, dict) else {}
        numbers = {
            operator: {
                tensor: {
                    **{key: value for key, value in entry.items() if key not in _KEYS_OF_A_BUILD},
                    "value": values.get(str(entry.get("hash"))),
                }
                for tensor, entry in tensors.items()
            }
            for operator, tensors in entries_of_operators(content).items()
        }
    except (OSError, ValueError, AttributeError) as error:
        raise ConversionError(f"{path}: is no record of a build's numbers ({error!r}); build again") from error
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()


def entries_of_operators(content: Any) -> Mapping[str, Any]:
    """Return operator -> tensor -> entry of a parsed record."""
    if not isinstance(content, dict):
        return {}
    found = content.get("tensor_configs", content.get("configs", content))
    return found if isinstance(found, dict) else {}


def read_record(build: Path) -> QuantizationRecord:
    """Read the record of a build.

    Args:
        build: the build's output folder, its ``quant`` folder, or the record itself.

    Raises:
        ConversionError: there is no record, or it can't be read.
    """
    path = next((place for place in _places(build) if place.is_file()), None)
    if path is None:
        raise ConversionError(f"{build}: holds no {_FOLDER}/{QUANTIZATION_RECORD}; give the output folder of a build")
    try:
        content = read_json(path)
        values = content["values"]
        operators: dict[str, dict[str, RecordedNumbers]] = {}
        for operator, tensors in entries_of_operators(content).items():
            known = operators.setdefault(_PREFIX.sub("", operator), {})
            known.update({name: _numbers(entry, values) for name, entry in tensors.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConversionError(f"{path}: is no record of a build's numbers ({error!r}); build again") from error
    return QuantizationRecord(path, operators, _kept(path.with_name(QUANTIZED_GRAPH)))


def _places(build: Path) -> tuple[Path, ...]:
    return build, build / QUANTIZATION_RECORD, build / _FOLDER / QUANTIZATION_RECORD


def _numbers(entry: Mapping[str, Any], values: Mapping[str, Any]) -> RecordedNumbers:
    value = values.get(str(entry.get("hash"))) or {}
    scales, zero_points = _tuple(value.get("scale")), _tuple(value.get("zero_point"))
    policy = entry.get("policy") or {}
    per_channel = bool(policy.get("PER_CHANNEL")) if isinstance(policy, Mapping) else "PER_CHANNEL" in policy
    return RecordedNumbers(
        bits=int(entry["bit_width"]) if entry.get("state") != "FP32" else FLOAT_BITS,
        low=int(entry.get("quant_min") or 0),
        high=int(entry.get("quant_max") or 0),
        scales=tuple(float(scale) for scale in scales),
        zero_points=tuple(round(point) for point in zero_points) or (0,) * len(scales),
        per_channel=per_channel,
    )


def _tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _kept(path: Path) -> frozenset[str] | None:
    if not path.is_file():
        return None
    # protobuf's DecodeError has no typed home.
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:
        raise ConversionError(f"{path}: can't be read as an ONNX graph ({error}); build again") from error
    return frozenset({name for node in graph.node for name in node.output} | {value.name for value in graph.input})
