from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import CompressionType, Writer

from bevformer_lib.errors import RecordingError
from bevformer_lib.recordings import container
from bevformer_lib.recordings.container import MessageReader, recorded_messages
from bevformer_lib.recordings.reader import RecordingOptions, read_recording
from bevformer_lib.recordings.topics import Topics
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from tests.recordings.foreign import write_foxglove_protobuf
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes


def write(path: Path, compression: CompressionType = CompressionType.LZ4, *, chunked: bool = True) -> Path:
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=400, compression=compression, use_chunking=chunked)
        writer.start()
        schema = writer.register_schema("thing", "jsonschema", b"{}")
        channel = writer.register_channel("/thing", "json", schema)
        writer.add_attachment(0, 0, "notes", "text/plain", b"x" * 500)
        for number in range(20):
            writer.add_message(channel, number, bytes([number]) * 100, number)
        writer.finish()
    return path


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("compression", CompressionType)
def test_every_message_is_read_and_found_again(compression: CompressionType, chunked: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "one.mcap", compression, chunked=chunked)
    messages = list(recorded_messages(path))
    assert [message.log_time_ns for message in messages] == list(range(20))
    assert {message.channel.topic for message in messages} == {"/thing"}
    reader = MessageReader(path)
    for message in reversed(messages):
        assert reader.data(message.place) == message.data
    assert len(reader._chunks) <= 4


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is no file; name a recording"):
        next(recorded_messages(tmp_path))
    (tmp_path / "text.mcap").write_text("nothing")
    with pytest.raises(RecordingError, match="is no MCAP file"):
        next(recorded_messages(tmp_path / "text.mcap"))


def test_a_file_that_is_cut_off_says_where_and_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "one.mcap")
    content = path.read_bytes()
    for size in (9, 300, 900, 1200):
        path.write_bytes(content[:size])
        with pytest.raises(RecordingError, match=r"one.mcap: is cut off: .* byte [\d,]+; 'mcap recover IN -o OUT'"):
            list(recorded_messages(path))


@pytest.mark.parametrize("compression", CompressionType)
def test_chunks_that_unpack_to_more_than_they_say_are_refused(
    compression: CompressionType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "one.mcap", compression)
    content = bytearray(path.read_bytes())
    chunk = next(recorded_messages(path)).place.record
    for said in (50, 1 << 40):
        struct.pack_into("<Q", content, chunk + 9 + 16, said)
        path.write_bytes(content)
        with pytest.raises(RecordingError, match="is damaged at byte"):
            list(recorded_messages(path))
    monkeypatch.setattr(container, "LARGEST_RECORD", 100)
    with pytest.raises(RecordingError, match=r"holds a record of .* bytes .* Record with smaller chunks"):
        list(recorded_messages(write(tmp_path / "large.mcap", compression)))


def test_damaged_bytes_are_never_another_error(tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2)
    requirements = SceneRequirements.of_model(micro_config())
    [scene] = read_scenes(root, requirements)
    good = write_foxglove_protobuf(tmp_path / "good.mcap", scene, compression=CompressionType.NONE).read_bytes()
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "bad.mcap", 0
    for trial in range(60):
        content = np.frombuffer(good, np.uint8).copy()
        spots = rng.integers(0, 6000 if trial % 2 else len(content), 1 + trial % 4)
        content[spots] = rng.integers(0, 256, len(spots))
        path.write_bytes(content.tobytes())
        try:
            read_recording(path, requirements, RecordingOptions(Topics(), 1.5))
        except RecordingError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 10
