"""What a board installs: resolved for aarch64 by pip, wheels only, as the board's own pip would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PROJECT = Path(__file__).resolve().parents[1]
NOT_ON_A_BOARD = {"torch", "torchvision", "onnx", "onnxruntime", "onnxsim", "mmcv"}
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.10", "3.11"])
def test_base_and_edge_have_wheels_for_aarch64(python: str, tmp_path: Path) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["edge"]]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--disable-pip-version-check"]
    command += ["--report", str(tmp_path / "report.json"), "--target", str(tmp_path / "target")]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    command += ["--python-version", python, "--only-binary", ":all:", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if "Could not fetch URL" in done.stderr or "NewConnectionError" in done.stderr or "ProxyError" in done.stderr:
        pytest.skip("no package index in reach")
    assert done.returncode == 0, done.stderr
    installed = {
        entry["metadata"]["name"].lower().replace("_", "-"): entry["download_info"]["url"]
        for entry in json.loads((tmp_path / "report.json").read_text())["install"]
    }
    assert not NOT_ON_A_BOARD & installed.keys()
    assert {"numpy", "opencv-python-headless", "cffi", "ml-dtypes"} <= installed.keys()
    assert all(url.endswith(("aarch64.whl", "-any.whl")) for url in installed.values())
