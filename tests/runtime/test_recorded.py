from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.backends.runtimes import open_reference
from bevformer_lib.errors import OutputError, RuntimeUnavailableError
from bevformer_lib.runtime.recorded import RecordedRuntime, RecordingRuntime, UnrecordedError, pack_recording
from tests.support.fake_runtime import MICRO_INPUTS, FakeRuntime, counting_runtime

DIGEST = "ab" * 32


def _feed(value: float) -> dict[str, np.ndarray]:
    return {name: np.full(shape, value, np.float32) for name, shape in MICRO_INPUTS.items()}


def _record(folder: Path, runtime: FakeRuntime, *values: float, digest: str = DIGEST) -> None:
    recording = RecordingRuntime(runtime, folder, model_sha256=digest)
    for value in values:
        recording.run(_feed(value))


def test_a_recording_gives_back_what_the_model_gave(tmp_path: Path) -> None:
    runtime = counting_runtime()
    _record(tmp_path / "rec", runtime, 1.0, 2.0)
    recorded = open_reference(tmp_path / "rec")
    assert isinstance(recorded, RecordedRuntime)
    assert recorded.model_sha256 == DIGEST
    assert dict(recorded.inputs) == dict(runtime.inputs)
    assert dict(recorded.outputs) == dict(runtime.outputs)
    given = recorded.run(_feed(2.0))
    for name, array in runtime.run(_feed(2.0)).items():
        np.testing.assert_array_equal(given[name], array)


def test_frames_are_not_run_twice(tmp_path: Path) -> None:
    runtime = counting_runtime()
    _record(tmp_path / "rec", runtime, 1.0)
    _record(tmp_path / "rec", runtime, 1.0, 2.0)
    assert [float(feed["can_bus"][0, 0]) for feed in runtime.feeds] == [1.0, 2.0]


def test_another_frame_is_not_found(tmp_path: Path) -> None:
    _record(tmp_path / "rec", counting_runtime(), 1.0)
    with pytest.raises(UnrecordedError, match="has no such frame; record the same scenes"):
        RecordedRuntime(tmp_path / "rec").run({**_feed(1.0), "prev_bev": np.ones((6, 1, 4), np.float32) * 2})


def test_another_model_in_the_folder(tmp_path: Path) -> None:
    _record(tmp_path / "rec", counting_runtime(), 1.0)
    with pytest.raises(OutputError, match="recording of another model"):
        _record(tmp_path / "rec", counting_runtime(), 1.0, digest="cd" * 32)


def test_something_else_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(OutputError, match="is in the way"):
        _record(tmp_path, counting_runtime(), 1.0)
    with pytest.raises(RuntimeUnavailableError, match=r"is no recording.*bevformer record"):
        open_reference(tmp_path)


def test_a_damaged_frame(tmp_path: Path) -> None:
    _record(tmp_path / "rec", counting_runtime(), 1.0)
    path = next((tmp_path / "rec" / "frames").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RuntimeUnavailableError, match="is damaged"):
        RecordedRuntime(tmp_path / "rec").run(_feed(1.0))


def test_a_packed_recording_gives_the_same_and_is_the_same_every_time(tmp_path: Path) -> None:
    runtime = counting_runtime()
    for name, values in (("one", (1.0, 2.0)), ("other", (2.0, 1.0))):
        _record(tmp_path / name, runtime, *values)
        pack_recording(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    recorded = RecordedRuntime(tmp_path / "one.zip")
    assert recorded.model_sha256 == DIGEST
    for value in (1.0, 2.0):
        for name, array in RecordedRuntime(tmp_path / "one").run(_feed(value)).items():
            np.testing.assert_array_equal(recorded.run(_feed(value))[name], array)
    with pytest.raises(UnrecordedError):
        recorded.run(_feed(3.0))


def test_a_frame_larger_than_the_outputs_is_not_unpacked(tmp_path: Path) -> None:
    _record(tmp_path / "rec", counting_runtime(), 1.0)
    (frame,) = (tmp_path / "rec").rglob("*.npz")
    np.savez_compressed(frame, bev_embed=np.zeros(1 << 20, np.float32))
    pack_recording(tmp_path / "rec", tmp_path / "rec.zip")
    for recording in (tmp_path / "rec", tmp_path / "rec.zip"):
        with pytest.raises(RuntimeUnavailableError, match="would become"):
            RecordedRuntime(recording).run(_feed(1.0))


def test_a_damaged_pack(tmp_path: Path) -> None:
    _record(tmp_path / "rec", counting_runtime(), 1.0)
    pack_recording(tmp_path / "rec", tmp_path / "rec.zip")
    content = (tmp_path / "rec.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(RuntimeUnavailableError, match="is damaged"):
        RecordedRuntime(tmp_path / "cut.zip")
