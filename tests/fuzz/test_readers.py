"""Every reader, given what was a sound file: it reads it, or says one clear error that names the file.

A few examples in `make test`, thousands in `make fuzz` (FUZZ_EXAMPLES).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.writer import CompressionType

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.calibration.pack import ARCHIVE_ORDER, archive_name
from bevformer_lib.calibration.quantization_data import read_quantization_data
from bevformer_lib.config.inference_config import inference_config_of, read_inference_config, write_inference_config
from bevformer_lib.config.load import load_model_config
from bevformer_lib.detections.detections_folder import read_detections
from bevformer_lib.errors import BevformerError
from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.lint.run import lint, read_graph
from bevformer_lib.gates.expression import parse
from bevformer_lib.gates.policy import DEFAULT_POLICY, read_policy
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.checkpoint import load_checkpoint, make_checkpoint
from bevformer_lib.onnx_file import read_onnx
from bevformer_lib.plain_data import from_plain, to_plain
from bevformer_lib.pulsar2.container import read_axmodel
from bevformer_lib.pulsar2.log import read_figures
from bevformer_lib.pulsar2.overrides import read_overrides
from bevformer_lib.recordings.reader import RecordingOptions, read_recording
from bevformer_lib.recordings.topics import Topics, read_topics
from bevformer_lib.runtime.model_metadata import read_model_metadata
from bevformer_lib.runtime.recorded import RecordedRuntime
from bevformer_lib.scenes.image_files import check_image
from bevformer_lib.scenes.metas import read_metas
from bevformer_lib.scenes.reader import SceneRequirements, read_scenes
from bevformer_lib.source.address import parse_hub, parse_local
from bevformer_lib.source.resolved import ResolvedSource, SourceFile
from bevformer_lib.store.record_file import record_bytes, record_content
from bevformer_lib.store.step import StepRecord
from bevformer_lib.strict_json import parse_json
from bevformer_lib.strict_npy import parse_npy, parse_npz
from bevformer_lib.strict_yaml import parse_yaml
from tests.fuzz.mutations import changed_json, mutated
from tests.recordings.foreign import write_foxglove_json, write_foxglove_protobuf, write_ros2_bag
from tests.store.test_record_types import RECORD
from tests.support.micro import micro_config
from tests.support.scenes import write_scenes
from tests.support.toy_graph import write_toy_graph

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
LONGEST_MESSAGE = 100_000
MICRO = Path(__file__).parents[1] / "support" / "micro_original.py"
CONFIG = micro_config()


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes:
        sound: content of a file that it reads.
        read: puts content into a folder and reads it.
        errors: what it may raise.
        is_json: whether values are changed, and not bytes only.
    """

    sound: bytes
    read: Callable[[Path, bytes], object]
    errors: tuple[type[Exception], ...] = (BevformerError,)
    is_json: bool = False


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ones((2, 3), np.float32))
    return stream.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.ones(3), b=np.zeros(2))
    return stream.getvalue()


def tar_gz() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("1.npy")
        info.size = len(npy())
        tar.addfile(info, io.BytesIO(npy()))
    return stream.getvalue()


def recording() -> bytes:
    stream = io.BytesIO()
    spec = [{"name": "img", "shape": [1, 2], "dtype": "<f4"}]
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("recording.json", json.dumps({"model_sha256": "a" * 64, "inputs": spec, "outputs": spec}))
    return stream.getvalue()


def put(name: str, read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def run(folder: Path, content: bytes) -> object:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return read(path)

    return run


def read_archives(folder: Path, content: bytes) -> object:
    for name in ARCHIVE_ORDER:
        (folder / archive_name(name)).write_bytes(gzip.compress(content, 1))
    return sum(len(sample) for sample in read_calibration(folder))


def read_record(content: bytes) -> object:
    return StepRecord.from_dict(parse_json(content)).identity


def read_resolved(content: bytes) -> object:
    return from_plain(ResolvedSource, parse_json(content)).num_bytes


def detections() -> bytes:
    box = {"class": "car", "score": 0.5, "box": [1.0, 2.0, 0.0, 2.0, 4.0, 1.5, 0.0, 0.0, 0.0]}
    frames = [{"index": 0, "sample_token": None, "boxes": [box]}]
    return json.dumps({"scene": "s", "class_names": ["car"], "made_with": {}, "frames": frames}).encode()


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    folder = tmp_path_factory.mktemp("sound")
    scenes = write_scenes(folder, num_scenes=1, frames_per_scene=1)
    scene = scenes / "scene-0000"
    make_checkpoint(CONFIG, folder / "micro.pth")
    graph = write_toy_graph(folder / "toy.onnx").read_bytes()
    write_inference_config(inference_config_of(CONFIG), folder / "inference_config.json")
    requirements = SceneRequirements.of_model(CONFIG)
    source = ResolvedSource("hub", "x", True, (SourceFile("a.json", 2, "b" * 40),), "me/model", "main", "c" * 40)
    model, errors = build_model(CONFIG), (BevformerError, ValueError)

    [first] = read_scenes(scenes, requirements)
    options = RecordingOptions(Topics(), longest_gap_s=1.5)

    def read_scene(_: Path, content: bytes) -> object:
        (scene / "meta_000000.json").write_bytes(content)
        return read_scenes(scenes, requirements)

    return {
        "meta": Reader((scene / "meta_000000.json").read_bytes(), read_scene, is_json=True),
        "metas": Reader(
            (scene / "meta_000000.json").read_bytes(),
            put("s/meta_000000.json", lambda path: read_metas(path.parents[1])),
            is_json=True,
        ),
        "scene index": Reader(
            b'{"scenes": {"a": {"samples": [0, 1]}}}',
            put("scene_index.json", lambda path: read_metas(path.parent)),
            is_json=True,
        ),
        "image": Reader(
            (scene / "cam_00_000000.png").read_bytes(), lambda _, content: check_image(content), (ValueError,)
        ),
        "detections": Reader(
            detections(), put("s/detections.json", lambda path: read_detections(path.parents[1])), is_json=True
        ),
        "inference config": Reader(
            (folder / "inference_config.json").read_bytes(), put("c.json", read_inference_config), is_json=True
        ),
        "config": Reader(MICRO.read_bytes(), put("c.py", lambda path: load_model_config(str(path)))),
        "json config": Reader(b'{"model": {"type": "BEVFormer"}}', put("c.json", lambda p: load_model_config(str(p)))),
        "checkpoint": Reader((folder / "micro.pth").read_bytes(), put("m.pth", lambda p: load_checkpoint(p, model))),
        "archive": Reader(tar_gz(), read_archives),
        "quantization data": Reader(
            b'{"scenes": [{"name": "a"}]}',
            put("index.json", lambda path: read_quantization_data(path.parent)),
            is_json=True,
        ),
        "npy": Reader(npy(), lambda _, content: parse_npy(content), (ValueError,)),
        "npz": Reader(npz(), lambda _, content: parse_npz(content), (ValueError,)),
        "json": Reader(b'{"a": [1, 2.5, "x"]}', lambda _, content: parse_json(content), (ValueError,), is_json=True),
        "yaml": Reader(
            b"a: {b: [1, 2.5, x]}\nc: &d [1]\ne: *d\n", lambda _, content: parse_yaml(content.decode()), (ValueError,)
        ),
        "policy": Reader(
            DEFAULT_POLICY.read_bytes(), put("p.yaml", lambda path: read_policy(path, CONFIG.class_names))
        ),
        "overrides": Reader(b"quant: {layer_configs: [{op_type: Relu}]} // all\n", put("o.yaml", read_overrides)),
        "gate": Reader(b"metrics.mAP >= reference - 0.02", lambda _, content: parse(content.decode()), errors),
        "graph": Reader(graph, put("g.onnx", read_onnx), errors),
        "lint": Reader(graph, put("g.onnx", lambda path: lint(read_graph(path), load_chip("AX650")))),
        "metadata": Reader(graph, put("g.onnx", read_model_metadata), errors),
        "axmodel": Reader(graph, put("g.axmodel", read_axmodel)),
        "recording": Reader(recording(), put("r.recording", RecordedRuntime)),
        **{
            name: Reader(path.read_bytes(), put("d.mcap", lambda path: read_recording(path, requirements, options)))
            for name, path in {
                "JSON in MCAP": write_foxglove_json(folder / "json.mcap", first, chunked=False),
                "protobuf in MCAP": write_foxglove_protobuf(folder / "p.mcap", first, compression=CompressionType.NONE),
                "CDR in MCAP": write_ros2_bag(folder / "bag", first),
            }.items()
        },
        "topics": Reader(b"pose: tf\ncameras: {CAM_BACK: {image: /x}}\n", put("t.yaml", read_topics)),
        "record file": Reader(
            record_bytes("export", "k", RECORD), lambda _, content: record_content(content, "export", "k", place="x")
        ),
        "record": Reader(json.dumps(RECORD).encode(), lambda _, content: read_record(content), errors, is_json=True),
        "resolved source": Reader(
            json.dumps(to_plain(source)).encode(), lambda _, content: read_resolved(content), errors, is_json=True
        ),
        "hub address": Reader(b"hf://me/model@main/x", lambda _, content: parse_hub(content.decode()), errors),
        "local address": Reader(b"file:///x", lambda _, content: parse_local(content.decode()), errors),
        "log": Reader(
            b"max_cycle = 1,234\nmacs: 5", lambda _, content: read_figures(content.decode().splitlines()), errors
        ),
    }


NAMES = (
    *("meta", "metas", "scene index", "image", "detections", "inference config", "config", "json config", "checkpoint"),
    *("archive", "quantization data", "npy", "npz", "json", "yaml", "policy", "overrides", "gate", "graph", "lint"),
    *(
        "metadata",
        "axmodel",
        "recording",
        "JSON in MCAP",
        "protobuf in MCAP",
        "CDR in MCAP",
        "topics",
        "record file",
        "record",
        "resolved source",
        "hub address",
        "local address",
        "log",
    ),
)


def test_no_reader_is_left_out(readers: dict[str, Reader]) -> None:
    assert set(NAMES) == set(readers)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_is_one_clear_error(
    name: str, readers: dict[str, Reader], tmp_path_factory: pytest.TempPathFactory
) -> None:
    reader = readers[name]
    folder = tmp_path_factory.mktemp("damaged")
    kinds = mutated(reader.sound)
    if reader.is_json:
        kinds = st.one_of(kinds, changed_json(json.loads(reader.sound)))

    @SETTINGS
    @given(kinds)
    def check(content: bytes) -> None:
        try:
            reader.read(folder, content)
        except reader.errors as error:
            assert 0 < len(str(error)) < LONGEST_MESSAGE

    check()
