from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.calibration.pack import ARCHIVE_ORDER, MANIFEST_NAME, archive_name, pack_calibration
from bevformer_lib.calibration.samples import CalibrationSample
from bevformer_lib.errors import CalibrationError
from tests.support.calibration import ToyWorld, brute_force_prev_bev, make_samples


@pytest.fixture(scope="module")
def samples(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> list[CalibrationSample]:
    return make_samples(world, tmp_path_factory.mktemp("collected"), 6)


def _pack(samples: list[CalibrationSample], output: Path, threads: int | None = None) -> Path:
    return pack_calibration(
        iter(samples), output, num_samples=len(samples), seed=7, model_sha256="ab" * 32, threads=threads
    )


def test_plain_tarfile_and_numpy_read_the_planned_frames(
    world: ToyWorld, samples: list[CalibrationSample], tmp_path: Path
) -> None:
    manifest = json.loads(_pack(samples, tmp_path / "wörk dir").read_text())
    for name, archive in ((name, archive_name(name)) for name in ARCHIVE_ORDER):
        with tarfile.open(tmp_path / "wörk dir" / archive, "r:gz") as tar:
            assert tar.getnames() == [f"{number}.npy" for number in range(1, 7)]
            for entry in manifest["samples"]:
                content = tar.extractfile(f"{entry['number']}.npy").read()
                assert hashlib.sha256(content).hexdigest() == entry["sha256"][name]
                array = np.load(io.BytesIO(content))
                assert array.dtype == np.float32
                assert list(array.shape) == manifest["tensors"][name]["shape"]
                frames = world.scenes[entry["scene"]].frames
                position = entry["position"]
                assert frames[position].index == entry["frame"]
                if name == "prev_bev":
                    assert np.array_equal(array, brute_force_prev_bev(world, entry["scene"])[position])
                else:
                    previous = frames[position - 1] if position else None
                    inputs = world.preprocessor.inputs(frames[position], previous)
                    assert np.array_equal(array, getattr(inputs, name))
    assert (manifest["num_samples"], manifest["seed"], manifest["model_sha256"]) == (6, 7, "ab" * 32)


def test_bytes_do_not_depend_on_the_number_of_threads(samples: list[CalibrationSample], tmp_path: Path) -> None:
    digests = []
    for threads in (1, 3):
        _pack(samples, tmp_path / str(threads), threads)
        files = sorted((tmp_path / str(threads)).iterdir())
        assert [file.name for file in files] == sorted([*map(archive_name, ARCHIVE_ORDER), MANIFEST_NAME])
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]


def test_members_carry_no_time_and_no_owner(samples: list[CalibrationSample], tmp_path: Path) -> None:
    _pack(samples, tmp_path)
    with tarfile.open(tmp_path / "calibration_can_bus.tar.gz") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}


def test_a_finished_set_is_not_overwritten(samples: list[CalibrationSample], tmp_path: Path) -> None:
    _pack(samples, tmp_path)
    with pytest.raises(CalibrationError, match="holds a calibration set; choose another"):
        _pack(samples, tmp_path)


def _refused(samples: list[CalibrationSample], output: Path, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        pack_calibration(samples, output, num_samples=6, seed=0, model_sha256=None)
    assert list(output.iterdir()) == []


def test_a_missing_sample_leaves_nothing(samples: list[CalibrationSample], tmp_path: Path) -> None:
    _refused(samples[:5], tmp_path, "6 samples were planned, 5 came")


def _changed(sample: CalibrationSample, **arrays: np.ndarray) -> CalibrationSample:
    return dataclasses.replace(sample, arrays={**sample.arrays, **arrays})


def test_nan_names_scene_frame_and_input(samples: list[CalibrationSample], tmp_path: Path) -> None:
    bad = np.full((1, 18), np.nan, dtype=np.float32)
    where = f"scene '{samples[1].planned.scene}', frame {samples[1].frame_index}: can_bus holds NaN"
    _refused([samples[0], _changed(samples[1], can_bus=bad), *samples[2:]], tmp_path, where)


def test_samples_of_another_shape(samples: list[CalibrationSample], tmp_path: Path) -> None:
    bad = np.zeros((1, 5, 4, 4), dtype=np.float32)
    expected = r"lidar2img is \(1, 5, 4, 4\), that of the first sample is \(1, 6, 4, 4\)"
    _refused([samples[0], _changed(samples[1], lidar2img=bad), *samples[2:]], tmp_path, expected)


def test_samples_of_another_type(samples: list[CalibrationSample], tmp_path: Path) -> None:
    _refused([_changed(samples[0], can_bus=np.zeros((1, 18)))], tmp_path, "can_bus is float64; it must be float32")


def test_a_full_disk_leaves_nothing(samples: list[CalibrationSample], tmp_path: Path) -> None:
    def until_full() -> Iterator[CalibrationSample]:
        yield samples[0]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CalibrationError, match=r"No space left on device; .* was not written\. Make room"):
        pack_calibration(until_full(), tmp_path, num_samples=6, seed=0, model_sha256=None)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(samples: list[CalibrationSample], tmp_path: Path) -> None:
    def until_interrupted() -> Iterator[CalibrationSample]:
        yield samples[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_calibration(until_interrupted(), tmp_path, num_samples=6, seed=0, model_sha256=None)
    assert list(tmp_path.iterdir()) == []


def test_images_are_compressed(samples: list[CalibrationSample], tmp_path: Path) -> None:
    _pack(samples, tmp_path)
    path = tmp_path / "calibration_img.tar.gz"
    assert path.stat().st_size < 0.7 * len(gzip.decompress(path.read_bytes()))
