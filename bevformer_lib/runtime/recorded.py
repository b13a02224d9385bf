"""A model's outputs on disk, so that a board can be compared with a model that it can't run.

The machine that has the float model records what it gives for every frame of some scenes; the board reads it back. A
frame is found by the digest of everything that the model was fed, prev_bev included: other images, another
preprocessing or another order of frames find nothing, instead of a wrong reference.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import OutputError, RuntimeUnavailableError
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.runtime.base import Runtime, TensorSpec
from bevformer_lib.strict_json import parse_json
from bevformer_lib.strict_npy import HEADER_BYTES, parse_npz

RECORDING_FILE: Final = "recording.json"
_FRAMES: Final = "frames"
_MOST_DESCRIPTION_BYTES: Final = 1 << 20
_FIRST_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""Of all that is packed: the same frames make the same bytes."""


class UnrecordedError(RuntimeUnavailableError):
    """A recording was asked for a frame that it does not hold."""


class RecordingRuntime:
    """Runs a model and keeps what it gives; a frame that is kept already is read back instead of run."""

    def __init__(self, runtime: Runtime, folder: Path, *, model_sha256: str) -> None:
        """Begin a recording, or carry on with one of the same model.

        Args:
            runtime: the loaded model.
            folder: gets ``recording.json`` and a file per frame.
            model_sha256: digest (hex) of the model's file.

        Raises:
            OutputError: the folder holds the recording of another model, or something else.
        """
        description = {
            "model_sha256": model_sha256,
            "inputs": _described(runtime.inputs),
            "outputs": _described(runtime.outputs),
        }
        if folder.exists() and any(folder.iterdir()):
            try:
                earlier = _read_description(folder)
            except RuntimeUnavailableError as error:
                raise OutputError(f"{folder} is in the way ({error}); choose another folder") from error
            if earlier != description:
                raise OutputError(f"{folder} holds the recording of another model; remove it, or choose another folder")
        else:
            write_json(folder / RECORDING_FILE, description)
        self._runtime = runtime
        self._folder = folder

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The model's inputs by name."""
        return self._runtime.inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The model's outputs by name."""
        return self._runtime.outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """The recorded model's metadata."""
        return self._runtime.metadata

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model once, unless this feed was recorded before, and return all its outputs by name."""
        path = self._folder / _frame_name(feed)
        if path.is_file():
            return _read_frame(path.read_bytes(), str(path), _frame_bytes(self.outputs))
        outputs = self._runtime.run(feed)
        with atomic_path(path) as temporary:
            # Without allow_pickle, which NumPy before 2.1 takes for one more array.
            np.savez(temporary, **outputs)  # type: ignore[arg-type]
        return outputs


class RecordedRuntime:
    """Gives a recording's outputs back."""

    def __init__(self, recording: Path) -> None:
        """Open a recording.

        Args:
            recording: the folder, or the file that :func:`pack_recording` made of it.

        Raises:
            RuntimeUnavailableError: it is none.
        """
        description = _read_description(recording)
        self._recording = recording
        self.model_sha256: str = description["model_sha256"]
        self.inputs: Mapping[str, TensorSpec] = _specs(description["inputs"])
        self.outputs: Mapping[str, TensorSpec] = _specs(description["outputs"])
        self._frame_bytes = _frame_bytes(self.outputs)

    @property
    def metadata(self) -> Mapping[str, str]:
        """Empty: a recording holds none."""
        return {}

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return what the model gave for this feed.

        Raises:
            UnrecordedError: this frame, with this prev_bev, was not recorded.
            RuntimeUnavailableError: the recording is damaged.
        """
        name = _frame_name(feed)
        content = _read(self._recording, name, self._frame_bytes)
        if content is None:
            raise UnrecordedError(
                f"{self._recording}: has no such frame; record the same scenes with the same inference config "
                "(bevformer record), whole scenes from their first frame"
            )
        return _read_frame(content, str(self._recording / name), self._frame_bytes)


def pack_recording(folder: Path, output: Path) -> None:
    """Put a recording into one file, atomically; the same frames make the same bytes."""
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _FIRST_DATE)
            with path.open("rb") as source, archive.open(name, "w", force_zip64=True) as packed:
                shutil.copyfileobj(source, packed)


def _frame_name(feed: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(feed):
        array = np.ascontiguousarray(feed[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return f"{_FRAMES}/{digest.hexdigest()}.npz"


def _frame_bytes(outputs: Mapping[str, TensorSpec]) -> int:
    """Return how large a frame's file may be, before and after it is unpacked."""
    return sum(spec.num_bytes + 2 * HEADER_BYTES for spec in outputs.values())


def _read(recording: Path, name: str, most_bytes: int) -> bytes | None:
    """Return a file of a recording; ``None``: it has no such one."""
    if not recording.is_file():
        path = recording / name
        return path.read_bytes() if path.is_file() else None
    try:
        with zipfile.ZipFile(recording) as archive:
            entry = archive.NameToInfo.get(name)
            if entry is not None and entry.file_size > most_bytes:
                raise zipfile.BadZipFile(f"{name} would become {entry.file_size:,} bytes")
            return None if entry is None else archive.read(name)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:
        raise RuntimeUnavailableError(f"{recording}: is damaged ({error}); copy the recording again") from error


def _read_frame(content: bytes, named: str, most_bytes: int) -> dict[str, NDArray[Any]]:
    try:
        return parse_npz(content, most_bytes)
    except ValueError as error:
        raise RuntimeUnavailableError(f"{named}: is damaged: it {error}; copy the recording again") from error


def _described(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype.str} for spec in specs.values()]


def _specs(described: list[dict[str, Any]]) -> Mapping[str, TensorSpec]:
    return MappingProxyType(
        {one["name"]: TensorSpec(one["name"], tuple(one["shape"]), np.dtype(one["dtype"])) for one in described}
    )


def _read_description(recording: Path) -> dict[str, Any]:
    path = recording / RECORDING_FILE
    try:
        content: dict[str, Any] = parse_json(_read(recording, RECORDING_FILE, _MOST_DESCRIPTION_BYTES) or b"")
        for part in ("inputs", "outputs"):
            _specs(content[part])
        content["model_sha256"].isalnum()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RuntimeUnavailableError(f"{path}: is no recording ({error}); make one with 'bevformer record'") from error
    return content
