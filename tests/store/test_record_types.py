"""Records of the store whose fields are of other types than was written."""

from __future__ import annotations

from typing import Any

import pytest

from bevformer_lib.errors import StoreError
from bevformer_lib.store.step import Artifact, Step, StepRecord

RECORD = StepRecord(
    step=Step("export", 1, {"checkpoint": Artifact("x.pth", "a" * 64, 3)}, {"seed": 0}, {"torch": "2"}),
    outputs={"model.onnx": Artifact("model.onnx", "b" * 64, 5, made_by="export/1")},
    facts={},
    seconds=1.5,
    created_at="2026-01-01T00:00:00Z",
    product_version="0.1.0",
).to_dict()


def test_what_was_written_comes_back() -> None:
    assert StepRecord.from_dict(RECORD).to_dict() == RECORD


@pytest.mark.parametrize("key", sorted(RECORD.keys() - {"key"}))
@pytest.mark.parametrize("value", [[1], True, {"a": 1}, 1 << 70, "text", None, float("nan")], ids=repr)
def test_other_types(key: str, value: Any) -> None:
    try:
        record = StepRecord.from_dict(RECORD | {key: value})
    except StoreError:
        return
    assert type(record.to_dict()[key]) in (type(RECORD[key]), type(value))
    assert not (isinstance(value, (bool, list)) or (value == "text" and not isinstance(RECORD[key], (str, type(None)))))


@pytest.mark.parametrize(
    "change",
    [{"sha256": "../../etc/passwd"}, {"sha256": 1}, {"size": -1}, {"size": "3"}, {"name": None}, {"source": 1}],
)
def test_artifacts(change: dict[str, Any]) -> None:
    broken = RECORD["outputs"]["model.onnx"] | change
    with pytest.raises(StoreError, match="can't be read"):
        StepRecord.from_dict(RECORD | {"outputs": {"model.onnx": broken}})
