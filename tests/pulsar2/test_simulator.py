from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from bevformer_lib.backends.runtimes import open_runtime
from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.names import INPUT_NAMES, OUTPUT_NAMES
from bevformer_lib.pulsar2.simulator import Pulsar2Run, file_name
from bevformer_lib.pulsar2.tool import find_tool
from bevformer_lib.runtime.temporal import TemporalSession
from tests.standins.axmodel_container import write_axmodel
from tests.standins.install import install_standin
from tests.support.calibration import ToyWorld, brute_force_prev_bev, make_toy_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    return make_toy_world(tmp_path_factory.mktemp("toy wörld"), num_scenes=1, frames_per_scene=3)


@pytest.fixture(scope="module")
def compiled(world: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy graph unquantised in a container: what the simulator computes is known exactly."""
    return write_axmodel(tmp_path_factory.mktemp("cömpiled") / "m.axmodel", onnx.load(world.model))


@pytest.fixture(params=["pulsar2", "docker"])
def simulator(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = install_standin(request.param, tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")
    monkeypatch.setenv("STANDIN_DOCKER_STATE", str(tmp_path / "state"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.mark.usefixtures("simulator")
def test_bev_is_fed_back_frame_by_frame(world: ToyWorld, compiled: Path, tmp_path: Path) -> None:
    runtime = open_runtime("pulsar2", compiled)
    assert (tuple(runtime.inputs), tuple(runtime.outputs)) == (INPUT_NAMES, OUTPUT_NAMES)
    session = TemporalSession(runtime)
    (scene,) = world.scenes.values()
    states = brute_force_prev_bev(world, scene.name)
    for position, frame in enumerate(scene.frames[:2]):
        inputs = world.preprocessor.inputs(frame, scene.frames[position - 1] if position else None)
        result = session.step(inputs, first=position == 0)
        np.testing.assert_allclose(result.prev_bev, states[position], atol=1e-5)
        np.testing.assert_allclose(result.outputs["bev_embed"], states[position + 1], atol=1e-5)
    assert list((tmp_path / "tmp").glob("*/*")) == []


def _feed(runtime: Pulsar2Run) -> dict[str, np.ndarray]:
    return {name: np.zeros(spec.shape, spec.dtype) for name, spec in runtime.inputs.items()}


@pytest.mark.usefixtures("simulator")
def test_a_simulation_that_fails(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Pulsar2Run(compiled)
    monkeypatch.setenv("STANDIN_PULSAR2_FAIL", "run")
    message = r"m\.axmodel: pulsar2 run failed with exit status 1\. .*RuntimeError: simulation of subgraph_npu_0"
    with pytest.raises(RuntimeUnavailableError, match=message):
        runtime.run(_feed(runtime))
    assert list((tmp_path / "tmp").glob("*/*")) == []


def _simulator(tmp_path: Path, script: str) -> Path:
    """Write a pulsar2 that answers to version and otherwise runs a script."""
    path = tmp_path / "pulsar2"
    path.write_text(f'#!/bin/sh\n[ "$1" = version ] && echo "version: 4.2" && exit 0\n{script}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", r"wrote no bev_embed\.bin for output 'bev_embed'"),
        ('mkdir "$7/0"; printf 12345 > "$7/0/bev_embed.bin"', r"wrote 5 bytes .* float32 \(120, 1, 32\) has 15360"),
        ("sleep 60", r"m\.axmodel: the simulation was stopped: pulsar2: was stopped after its time limit of 0\.5 s"),
    ],
)
def test_outputs_that_are_not_the_models(script: str, message: str, compiled: Path, tmp_path: Path) -> None:
    runtime = Pulsar2Run(compiled, tool=find_tool(executable=_simulator(tmp_path, script)), seconds=0.5)
    with pytest.raises(RuntimeUnavailableError, match=message):
        runtime.run(_feed(runtime))


def test_models_and_options_that_can_not_be_simulated(world: ToyWorld, compiled: Path, tmp_path: Path) -> None:
    tool = find_tool(executable=_simulator(tmp_path, "exit 1"))
    with pytest.raises(RuntimeUnavailableError, match="no such model file"):
        Pulsar2Run(tmp_path / "none.axmodel", tool=tool)
    with pytest.raises(RuntimeUnavailableError, match="its producer is 'toy', not Pulsar2"):
        Pulsar2Run(world.model, tool=tool)
    with pytest.raises(RuntimeUnavailableError, match=r"device cuda: .*leave --device out"):
        open_runtime("pulsar2", compiled, device="cuda")


def test_without_a_simulator(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeUnavailableError, match="neither pulsar2 nor docker was found"):
        open_runtime("pulsar2", compiled)


def test_without_onnx(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "bevformer_lib.pulsar2.container", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RuntimeUnavailableError, match=r"the simulator needs ONNX .*bevformer-axera\[cpu\]"):
        Pulsar2Run(compiled)


@pytest.mark.parametrize(
    ("tensor", "name"), [("bev_embed", "bev_embed.bin"), ("/a/b:0", "_a_b_0.bin"), ("ä-1", "_-1.bin")]
)
def test_names_of_files(tensor: str, name: str) -> None:
    assert file_name(tensor) == name
