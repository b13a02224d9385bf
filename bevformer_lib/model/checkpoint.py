"""Checkpoints: read safely, fitted strictly, and made of random weights for tests and demonstrations."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import CheckpointError
from bevformer_lib.files import atomic_path, require_new_file, sha256_of_file
from bevformer_lib.foreign_files import advice
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.random_weights import randomize

RANDOM_WEIGHTS_KEY: Final = "random_weights_seed"
"""Entry of a checkpoint's ``meta`` that says its weights are random, and from which seed."""

_MAX_NAMED_TENSORS = 10
_PARALLEL_PREFIX: Final = "module."
"""What torch's parallel wrappers put before every name; mmcv takes it off too when it loads."""
_MAKE_NUMBER: Final = np.float64(0).__reduce__()[0]
_PLAIN_NUMBERS: Final[list[Any]] = [
    # mmcv records its best score as one of numpy's numbers; their maker has another address since numpy 2.
    (_MAKE_NUMBER, "numpy.core.multiarray.scalar"),
    (_MAKE_NUMBER, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]


@dataclass(frozen=True)
class CheckpointFacts:
    """What is known of a checkpoint that was loaded.

    Attributes:
        file_name: its name, without folders.
        random_weights_seed: seed of a synthetic checkpoint, ``None`` for a trained one.
    """

    file_name: str
    sha256: str
    num_tensors: int
    random_weights_seed: int | None


def load_checkpoint(path: Path, model: nn.Module) -> CheckpointFacts:
    """Load an mmcv checkpoint (``{"meta", "state_dict"}``) or a bare state dict into ``model``, strictly.

    Nothing in the file is executed: it is read with ``weights_only=True``, which admits tensors and plain data alone.

    Raises:
        CheckpointError: the file is missing, unreadable, holds anything but tensors and plain data, or its tensors
            are missing, unexpected, misshapen or not finite; the message names them.
    """
    content = _read_tensors_and_plain_data(path)
    state_dict, meta = _split(path, content)
    _check_fit(path, state_dict, model.state_dict())
    model.load_state_dict(state_dict)
    seed = meta.get(RANDOM_WEIGHTS_KEY)
    return CheckpointFacts(
        file_name=path.name,
        sha256=sha256_of_file(path),
        num_tensors=len(state_dict),
        random_weights_seed=seed if isinstance(seed, int) else None,
    )


def make_checkpoint(config: ModelConfig, path: Path, *, seed: int = 0) -> None:
    """Write a checkpoint of random weights in which every parameter matters, in the published layout.

    Raises:
        OutputError: ``path`` exists already, or can't be written.
    """
    require_new_file(path)
    model = build_model(config)
    randomize(model, seed=seed)
    content = {
        "meta": {RANDOM_WEIGHTS_KEY: seed, "config_name": config.name},
        "state_dict": dict(model.state_dict()),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


def _read_tensors_and_plain_data(path: Path) -> object:
    try:
        _refuse_compressed(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(_PLAIN_NUMBERS):
            warnings.simplefilter("ignore")  # about other pickle protocols: read or refused, nothing between
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; name the checkpoint (.pth) to load") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path} is a folder; name the checkpoint (.pth) inside it") from None
    except pickle.UnpicklingError as error:
        if (what := advice(path, "")) != "":
            raise CheckpointError(f"{path} can't be read as a checkpoint: {what}") from None
        # All else that PyTorch says is how to execute the file.
        detail = "".join(f" ({line.strip()})" for line in str(error).splitlines() if "GLOBAL" in line)
        raise CheckpointError(
            f"{path} is refused: it holds something other than tensors and plain data, or is no checkpoint{detail}. "
            "Nothing of it was executed. Save the model again as tensors only: "
            "torch.save({'state_dict': model.state_dict()}, ...)"
        ) from None
    except Exception as error:  # whatever torch's reader stumbles over in a file that is none
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} can't be read as a checkpoint ({reason}); {advice(path, 'fetch or copy it again')}"
        ) from None


def _refuse_compressed(path: Path) -> None:
    """Refuse a zip archive that would become larger: PyTorch stores tensors as they are.

    Raises:
        CheckpointError: it would.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size:
            raise CheckpointError(
                f"{path} can't be read as a checkpoint: it is a compressed archive that would become {size:,} bytes; "
                "PyTorch compresses nothing: fetch or copy it again"
            )


def _split(path: Path, content: object) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Return the tensors by name and the meta entry of a checkpoint's content."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state dict or an mmcv checkpoint")
    state_dict = content.get("state_dict", content)
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(f"{path}: its 'state_dict' is a {type(state_dict).__name__}, not a mapping of tensors")
    tensors = {str(name): value for name, value in state_dict.items() if isinstance(value, Tensor)}
    if len(tensors) != len(state_dict) or not tensors:
        others = [str(name) for name, value in state_dict.items() if not isinstance(value, Tensor)]
        raise CheckpointError(f"{path}: its state dict holds entries that are no tensors: {_shorten(others)}")
    if all(name.startswith(_PARALLEL_PREFIX) for name in tensors):
        tensors = {name.removeprefix(_PARALLEL_PREFIX): value for name, value in tensors.items()}
    meta = content.get("meta")
    return tensors, meta if isinstance(meta, Mapping) else {}


def _check_fit(path: Path, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = []
    if missing := [name for name in wanted if name not in given]:
        problems.append(f"missing: {_shorten(missing)}")
    if unexpected := [name for name in given if name not in wanted]:
        problems.append(f"unexpected: {_shorten(unexpected)}")
    shared = [name for name in wanted if name in given and not given[name].is_nested]
    if nested := [name for name in wanted if name in given and given[name].is_nested]:
        problems.append(f"nested: {_shorten(nested)}")
    if misshapen := [
        f"{name} is {tuple(given[name].shape)}, the model's is {tuple(wanted[name].shape)}"
        for name in shared
        if given[name].shape != wanted[name].shape
    ]:
        problems.append(f"misshapen: {_shorten(misshapen)}")
    if not_plain := [name for name in shared if not _is_plain(given[name])]:
        problems.append(f"sparse, complex, quantised or without values: {_shorten(not_plain)}")
    if no_numbers := [name for name in shared if given[name].is_floating_point() < wanted[name].is_floating_point()]:
        problems.append(f"not of floating-point numbers: {_shorten(no_numbers)}")
    # An expanded tensor of another shape may have more values than there is memory.
    plain = [name for name in shared if name not in not_plain and given[name].shape == wanted[name].shape]
    if not_finite := [name for name in plain if not bool(torch.isfinite(given[name].to(wanted[name].dtype)).all())]:
        problems.append(f"not finite: {_shorten(not_finite)}")
    if problems:
        raise CheckpointError(
            f"{path} does not fit the model's configuration; check that both belong together. " + "; ".join(problems)
        )


def _is_plain(tensor: Tensor) -> bool:
    strange = tensor.is_complex() or tensor.is_quantized or tensor.is_meta
    return tensor.layout == torch.strided and not strange


def _shorten(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_NAMED_TENSORS])
    return shown if len(names) <= _MAX_NAMED_TENSORS else f"{shown} and {len(names) - _MAX_NAMED_TENSORS} more"
