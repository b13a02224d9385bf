from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.calibration.pack import archive_name
from bevformer_lib.errors import CalibrationError
from bevformer_lib.names import INPUT_NAMES
from tests.support.calibration import ToyWorld, make_calibration

SHAPES = {"img": (1, 6, 3, 8, 16), "lidar2img": (1, 6, 4, 4), "can_bus": (1, 18), "prev_bev": (6, 1, 4)}


def _write(folder: Path, name: str, members: Mapping[str, np.ndarray]) -> None:
    with tarfile.open(folder / archive_name(name), "w:gz") as tar:
        for member_name, array in members.items():
            buffer = io.BytesIO()
            np.save(buffer, array)
            member = tarfile.TarInfo(member_name)
            member.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(member, buffer)


def _arrays(name: str, numbers: list[int], prefix: str = "") -> dict[str, np.ndarray]:
    return {f"{prefix}{number}.npy": np.full(SHAPES[name], number, dtype=np.float32) for number in numbers}


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Archives as `tar -czf calibration_img.tar.gz ./*.npy` makes them."""
    for name in SHAPES:
        _write(tmp_path, name, _arrays(name, [1, 10, *range(2, 10)], prefix="./"))
    return tmp_path


def test_reads_what_was_packed(world: ToyWorld, tmp_path: Path) -> None:
    calibration = read_calibration(make_calibration(world, tmp_path))
    samples = list(calibration)
    assert calibration.num_samples == len(samples) == 4
    assert set(calibration.tensors) == set(INPUT_NAMES) == set(samples[0])
    assert calibration.tensors["img"].shape == samples[0]["img"].shape == (1, 6, 3, 96, 160)
    assert [sample["can_bus"].tobytes() for sample in calibration] == [s["can_bus"].tobytes() for s in samples]


def test_the_manifest_is_not_needed(world: ToyWorld, tmp_path: Path) -> None:
    folder = make_calibration(world, tmp_path)
    (folder / "calibration_manifest.json").unlink()
    assert read_calibration(folder).num_samples == 4


def test_archives_made_with_tar_are_read_in_their_order(foreign: Path) -> None:
    for sample, number in zip(read_calibration(foreign), [1, 10, *range(2, 10)], strict=True):
        assert {float(array.max()) for array in sample.values()} == {number}


def test_missing_archive(foreign: Path) -> None:
    (foreign / "calibration_can_bus.tar.gz").unlink()
    with pytest.raises(CalibrationError, match=r"calibration_can_bus\.tar\.gz: no such archive"):
        read_calibration(foreign)


@pytest.mark.parametrize("kept", [0, 10, 0.5, -4])
def test_truncated_archive(foreign: Path, kept: float) -> None:
    path = foreign / "calibration_img.tar.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if kept == 0.5 else int(kept)])
    with pytest.raises(CalibrationError, match=r"calibration_img\.tar\.gz: "):
        read_calibration(foreign)


def test_archive_with_a_wrong_checksum(foreign: Path) -> None:
    path = foreign / "calibration_img.tar.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=r"calibration_img\.tar\.gz: is not a whole \.tar\.gz .*CRC"):
        read_calibration(foreign)


def test_counts_that_differ(foreign: Path) -> None:
    _write(foreign, "prev_bev", _arrays("prev_bev", [1, 2]))
    with pytest.raises(CalibrationError, match=r"calibration_prev_bev\.tar\.gz: 2 members, 10 in calibration_img"):
        read_calibration(foreign)


def test_orders_that_differ(foreign: Path) -> None:
    _write(foreign, "prev_bev", _arrays("prev_bev", list(range(1, 11))))
    with pytest.raises(CalibrationError, match="another order"):
        read_calibration(foreign)


def test_numbers_with_a_gap(foreign: Path) -> None:
    _write(foreign, "img", _arrays("img", [1, 3]))
    with pytest.raises(CalibrationError, match=r"must be 1\.npy \.\. 2\.npy, each once; found 1\.npy, 3\.npy"):
        read_calibration(foreign)


@pytest.mark.parametrize("name", ["0.npy", "readme.txt", "1.npz", "img_1.npy"])
def test_unexpected_member(foreign: Path, name: str) -> None:
    _write(foreign, "img", {name: np.zeros(3)})
    with pytest.raises(CalibrationError, match=f"unexpected member '{name}'"):
        read_calibration(foreign)


def test_samples_that_are_not_alike(foreign: Path) -> None:
    _write(foreign, "can_bus", {"1.npy": np.zeros((1, 18), np.float32), "2.npy": np.zeros((1, 17), np.float32)})
    with pytest.raises(CalibrationError, match=r"2\.npy is float32 \(1, 17\), 1\.npy is float32 \(1, 18\)"):
        read_calibration(foreign)


def test_pickled_objects_are_refused(foreign: Path) -> None:
    _write(foreign, "can_bus", {"1.npy": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(CalibrationError, match=r"calibration_can_bus\.tar\.gz: a member holds object"):
        read_calibration(foreign)


def test_empty_archive(foreign: Path) -> None:
    _write(foreign, "img", {})
    with pytest.raises(CalibrationError, match="holds no samples"):
        read_calibration(foreign)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such archive"):
        read_calibration(tmp_path / "none")
