from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.doctor import machine
from bevformer_lib.doctor.finding import Status
from bevformer_lib.doctor.machine import check_disk, check_memory, check_packages, check_python

METADATA = """Metadata-Version: 2.1
Name: synthetic
Version: 1.0
Provides-Extra: cpu
Provides-Extra: gpu
Requires-Dist: numpy>=1
Requires-Dist: pydantic{bound}
Requires-Dist: nobody-has-this; extra == "gpu"
Requires-Dist: rich; extra == "cpu"
Requires-Dist: nobody-has-this; python_version < "3"
"""


@pytest.fixture
def synthetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a distribution named synthetic with these requirements."""

    def install(bound: str = ">=1") -> None:
        info = tmp_path / "synthetic-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA.format(bound=bound))
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_this_python() -> None:
    assert check_python().status is Status.OK


def test_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "python_version", lambda: "3.8.10")
    finding = check_python()
    assert finding.status is Status.FAIL and "3.8.10, but >=3.10 is needed" in finding.found


def test_packages_of_an_extra(synthetic) -> None:
    synthetic()
    finding = check_packages(["cpu"], distribution="synthetic")
    assert finding.status is Status.OK and finding.found == "3 packages of synthetic[cpu]"


def test_a_missing_package(synthetic) -> None:
    synthetic()
    finding = check_packages(["gpu"], distribution="synthetic")
    assert finding.status is Status.FAIL
    assert finding.found == "nobody-has-this is missing"
    assert finding.fix == "pip install 'synthetic[gpu]'"


def test_a_wrong_version(synthetic) -> None:
    synthetic(bound="<1")
    finding = check_packages([], distribution="synthetic")
    assert finding.status is Status.FAIL and finding.found.startswith("pydantic is 2")


def test_an_extra_that_the_installed_release_lacks(synthetic) -> None:
    synthetic()
    finding = check_packages(["s3"], distribution="synthetic")
    assert finding.status is Status.FAIL and "knows no extra 's3'" in finding.found


def test_nothing_installed() -> None:
    assert check_packages(["cpu"], distribution="nobody-has-this").status is Status.FAIL


@pytest.mark.parametrize(
    ("container", "status"), [(None, Status.OK), ("max", Status.OK), (9e9, Status.WARN), (2e9, Status.FAIL)]
)
def test_memory_is_the_containers_where_it_has_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: float | str | None, status: Status
) -> None:
    memory, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    memory.write_text("MemTotal:       24000000 kB\nMemFree:        1000 kB\n")
    if container is not None:
        limit.write_text(f"{container if isinstance(container, str) else int(container)}\n")
    monkeypatch.setattr(machine, "MEMORY_FILE", memory)
    monkeypatch.setattr(machine, "CONTAINER_MEMORY_FILE", limit)
    assert check_memory(4, 12).status is status


def test_memory_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMORY_FILE", tmp_path / "nothing")
    assert check_memory(4, 12).status is Status.WARN


def test_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert check_disk(folder, 0, 0).status is Status.OK
    assert check_disk(folder, 0, 1e9).status is Status.WARN
    finding = check_disk(folder, 1e9, 1e9)
    assert finding.status is Status.FAIL and str(tmp_path) in finding.found
    assert not folder.exists()
