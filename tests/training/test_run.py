from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bevformer_lib.config.load import load_model_config
from bevformer_lib.errors import TrainingError
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.checkpoint import load_checkpoint
from bevformer_lib.training.run import TrainingRun, seed_range, train
from bevformer_lib.training.settings import TrainingSettings
from bevformer_lib.training.state import load_state
from tests.training.toy import noise_pool, write_toy_config

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(config: Path, pool: Path, output: Path, *more: str) -> list[str]:
    """The command line of a training of ten steps on three scenes of noise."""
    options = {
        "--output": output,
        "--pool": pool,
        "--synthetic-seeds": "0:3",
        "--held-out-seeds": "5:6",
        "--frames": 4,
        "--workers": 0,
        "--streams": 2,
        "--total-steps": 10,
        "--warmup-steps": 2,
        "--checkpoint-steps": 4,
        "--evaluation-steps": 100,
    }
    listed = [str(part) for option in options.items() for part in option]
    return [sys.executable, "-m", "bevformer_lib.training", str(config), *listed, *more]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    config = load_model_config(str(write_toy_config(tmp_path / "toy.py")))
    noise_pool(tmp_path / "pool" / "training", config)
    held_out = noise_pool(tmp_path / "pool" / "held_out", config, scenes=1)
    held_out.write(5, held_out.read(0))
    return tmp_path / "pool"


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path, pool: Path) -> None:
    config = tmp_path / "toy.py"
    subprocess.run(command(config, pool, tmp_path / "whole"), check=True, env=ONE_THREAD)

    killed = subprocess.Popen(command(config, pool, tmp_path / "killed"), env=ONE_THREAD)
    until = time.monotonic() + 120
    while not (tmp_path / "killed" / "state" / "latest.json").exists():
        assert killed.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    state = load_state(tmp_path / "killed" / "state")
    assert state is not None and state["step"] in (4, 8)
    subprocess.run(command(config, pool, tmp_path / "killed", "--resume"), check=True, env=ONE_THREAD)

    whole, resumed = (load_state(tmp_path / name / "state") for name in ("whole", "killed"))
    assert whole is not None and resumed is not None
    assert whole["step"] == resumed["step"] == 10
    for part in ("model", "mean"):
        assert all(torch.equal(value, resumed[part][name]) for name, value in whole[part].items())


def test_a_few_steps_lower_the_loss_and_leave_a_checkpoint(tmp_path: Path) -> None:
    """On rendered scenes, from the renderer to the checkpoint that the product loads."""
    config = write_toy_config(tmp_path / "toy.py")
    output = tmp_path / "out"
    run = TrainingRun(str(config), output, synthetic_seeds=(20, 22), held_out_seeds=(10, 11), frames=2, workers=2)
    settings = TrainingSettings(
        streams=2,
        total_steps=100,
        warmup_steps=10,
        learning_rate=2e-3,
        velocity_weight=2.0,  # velocities take longer than these few steps
        checkpoint_steps=50,
        evaluation_steps=100,
    )

    train(run, settings)

    rows = json.loads((output / "progress.json").read_text(encoding="utf-8"))
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    assert {"map", "nds", "map_without_history", "nds_without_history"} <= set(rows[-1]["held_out"])
    assert rows[-1]["held_out"]["map"] is not None
    assert (output / "progress.svg").read_text(encoding="utf-8").startswith("<svg")
    load_checkpoint(output / "checkpoint.pth", build_model(load_model_config(str(config))))
    with pytest.raises(TrainingError, match="--resume"):
        train(run, settings)


def test_a_time_limit_ends_a_run_with_its_state(tmp_path: Path, pool: Path) -> None:
    output = tmp_path / "out"
    limited = command(tmp_path / "toy.py", pool, output, "--time-limit-seconds", "0", "--compact-state")

    subprocess.run(limited, check=True, env=ONE_THREAD)
    assert (load_state(output / "state") or {})["step"] == 1
    subprocess.run([*limited, "--resume"], check=True, env=ONE_THREAD)

    assert (load_state(output / "state") or {})["step"] == 2
    assert [path.name for path in (output / "state").glob("step-*")] == ["step-00000002"]


def test_two_processes_train_one_model(tmp_path: Path, pool: Path) -> None:
    """The first one's state is that of both: the second shows its own frames and nothing else."""
    output = tmp_path / "out"

    subprocess.run(command(tmp_path / "toy.py", pool, output, "--gpus", "2"), check=True, env=ONE_THREAD)

    assert (load_state(output / "state") or {})["step"] == 10


def test_held_out_seeds_must_not_be_trained_on(tmp_path: Path) -> None:
    config = write_toy_config(tmp_path / "toy.py")

    with pytest.raises(TrainingError, match="overlap"):
        train(
            TrainingRun(str(config), tmp_path / "out", synthetic_seeds=(0, 5), held_out_seeds=(4, 9)),
            TrainingSettings(),
        )


def test_a_pool_for_another_model_is_refused(tmp_path: Path, pool: Path) -> None:
    (pool / "held_out" / "recipe.json").write_text("{}", encoding="utf-8")

    with pytest.raises(TrainingError, match="another model"):
        train(TrainingRun(str(tmp_path / "toy.py"), tmp_path / "out", pool=pool), TrainingSettings())


@pytest.mark.parametrize("text", ["3", "5:5", "a:b", "-1:4"])
def test_seeds_are_given_as_a_range(text: str) -> None:
    with pytest.raises(TrainingError, match="A:B"):
        seed_range(text)


def test_a_gpu_machine_needs_little_more_than_pytorch() -> None:
    blocked = ("pydantic", "cyclopts", "prefect", "rich", "onnx", "onnxruntime", "jinja2", "boto3", "huggingface_hub")
    program = f"import sys; sys.modules.update(dict.fromkeys({blocked})); import bevformer_lib.training.__main__"

    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("content", ["", "[" * 100_000, "[]", '{"a": 1, "a": 2}', '{"a": NaN}'])
def test_a_record_of_a_training_that_can_not_be_read(tmp_path: Path, pool: Path, content: str) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "training.json").write_text(content)
    run = TrainingRun(config=str(tmp_path / "toy.py"), output=output, pool=pool, resume=True)
    with pytest.raises(TrainingError, match=r"training\.json: .*; choose another folder"):
        train(run, TrainingSettings())
