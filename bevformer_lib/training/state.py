"""The state of a training on disk: whole or not there, in parts that are small enough to be carried."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from bevformer_lib.errors import CheckpointError
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.training.training_model import TrainingModel

PART_BYTES: Final = 15_000_000
"""Largest part of a saved state."""

_LATEST: Final = "latest.json"
_MOMENTS: Final = ("exp_avg", "exp_avg_sq")


def save_state(folder: Path, step: int, content: Mapping[str, Any], *, compact: bool) -> None:
    """Save a state and remove the one before it.

    Args:
        folder: of the states.
        step: steps that are done.
        content: what :func:`load_state` returns; tensors and plain data.
        compact: keep the optimiser's moments and the mean weights in 16 bits: a third less, but not the same to the
            last bit when resumed.
    """
    buffer = io.BytesIO()
    torch.save(_compacted(content) if compact else content, buffer)
    raw = buffer.getbuffer()
    name = f"step-{step:08d}"
    parts = range(0, len(raw), PART_BYTES)
    if (folder / name).is_dir():  # left by a run that was killed before it could name this state the latest
        shutil.rmtree(folder / name)
    with atomic_path(folder / name) as temporary:
        temporary.mkdir()
        for number, first in enumerate(parts):
            (temporary / f"part-{number:03d}").write_bytes(raw[first : first + PART_BYTES])
    write_json(folder / _LATEST, {"state": name, "parts": len(parts), "bytes": len(raw)})
    for old in folder.glob("step-*"):
        if old.name != name:
            shutil.rmtree(old)


def load_state(folder: Path) -> dict[str, Any] | None:
    """Return the latest state, or ``None`` where there is none.

    Raises:
        CheckpointError: it is incomplete or can't be read.
    """
    latest = folder / _LATEST
    if not latest.is_file():
        return None
    try:
        entry = json.loads(latest.read_text(encoding="utf-8"))
        parts = [folder / entry["state"] / f"part-{number:03d}" for number in range(entry["parts"])]
        raw = b"".join(part.read_bytes() for part in parts)
        if len(raw) != entry["bytes"]:
            raise CheckpointError(f"{folder}: the saved state has {len(raw)} bytes instead of {entry['bytes']}")
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the saved state can't be read ({error}); copy it again, or begin without --resume"
        ) from error
    return dict(content)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's state that may have been saved compactly."""
    moments = {
        key: {
            name: value.float() if isinstance(value, Tensor) and name in _MOMENTS else value
            for name, value in entry.items()
        }
        for key, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def write_checkpoint(
    path: Path, model: TrainingModel, mean_weights: Mapping[str, Tensor], meta: dict[str, Any]
) -> None:
    """Write the detector's mean weights in float16, in the published layout, in place of an older file."""
    prefix = "detector."
    state = {
        name.removeprefix(prefix): _as(torch.float16)(mean_weights[name])
        for name in model.state_dict()
        if name.startswith(prefix)
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save({"meta": meta, "state_dict": state}, file)


def _compacted(content: Mapping[str, Any]) -> dict[str, Any]:
    optimizer = content["optimizer"]
    moments = {
        key: {name: _as(torch.bfloat16)(value) if name in _MOMENTS else value for name, value in entry.items()}
        for key, entry in optimizer["state"].items()
    }
    mean = {name: _as(torch.float16)(value) for name, value in content["mean"].items()}
    return {**content, "optimizer": {**optimizer, "state": moments}, "mean": mean}


def _as(dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    return lambda value: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype)
