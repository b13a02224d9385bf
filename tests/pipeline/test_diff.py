from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.files import write_json
from bevformer_lib.pipeline.builds import Build
from bevformer_lib.pipeline.convert import COMPILED, CONVERSION_FACTS
from bevformer_lib.pipeline.diff import NOT_RECORDED, Change, compare_builds
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.step import Artifact, Step, StepRecord


def pulsar2_build(store: FolderStore, folder: Path, program: bytes, numbers: str | None) -> Build:
    """Record a build whose compiled model has these bytes and these numbers."""
    (folder / COMPILED).write_bytes(program)
    write_json(folder / CONVERSION_FACTS, {"numbers_sha256": numbers})
    outputs = {}
    for name in (COMPILED, CONVERSION_FACTS):
        stored = store.put_object(folder / name)
        outputs[name] = Artifact(name, stored.sha256, stored.size)
    made_from = Artifact("graph.onnx", outputs[COMPILED].sha256, 1, made_by="export/1")
    record = StepRecord(Step("convert", 1, {"graph": made_from}), outputs, {}, 1.0, "2026-01-01", "0.1.0")
    store.put_record(record.step.kind, record.step.key, record.to_dict())
    return Build("demo", (record.identity,), outputs, "2026-01-01", "0.1.0")


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (("a" * 64, "a" * 64), ()),
        (("a" * 64, "b" * 64), (Change(f"convert.{COMPILED}", "a" * 12, "b" * 12),)),
        ((None, "b" * 64), (Change(f"convert.{COMPILED}", NOT_RECORDED, "b" * 12),)),
    ],
)
def test_a_compiled_model_is_compared_by_its_numbers_and_never_by_its_bytes(
    numbers: tuple[str | None, str | None], expected: tuple[Change, ...], tmp_path: Path
) -> None:
    store = FolderStore(tmp_path / "store")
    before, after = (
        pulsar2_build(store, tmp_path, program, number)
        for program, number in zip((b"program 1", b"program 2"), numbers, strict=True)
    )
    assert before.steps != after.steps
    assert compare_builds(store, before, after).candidates == expected
