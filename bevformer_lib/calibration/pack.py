"""The archives of a calibration set, one per network input, and the manifest that says what is in them.

Same samples, same bytes with any number of cores, as long as ISA-L is the same version on the same kind of processor.
The identity that holds everywhere is the manifest's digest of every member.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from isal import igzip_threaded
from numpy.typing import NDArray

from bevformer_lib.calibration.disk import named_disk_errors
from bevformer_lib.calibration.samples import CalibrationSample, network_samples
from bevformer_lib.config.host_geometry import HostGeometryConfig
from bevformer_lib.errors import CalibrationError
from bevformer_lib.files import atomic_path, write_json
from bevformer_lib.geometry.host import HostGeometry
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_PREV_BEV
from bevformer_lib.progress import ProgressCallback, no_progress

ARCHIVE_ORDER: Final = (INPUT_IMG, INPUT_LIDAR2IMG, INPUT_CAN_BUS, INPUT_PREV_BEV)
"""Inputs of a graph that computes its geometry, in the order of the set."""
MANIFEST_NAME: Final = "calibration_manifest.json"
MANIFEST_FORMAT: Final = 1
GZIP_LEVEL: Final = 3
"""ISA-L's highest. On normalised float32 images of real frames (27.6 MB, two threads) it leaves 26.3 % in 0.5 s, where
zlib's level 4 leaves 23.1 % in 2.2 s."""
_MEMBER_MODE: Final = 0o644


def archive_name(name: str) -> str:
    """Return the name of an input's archive."""
    return f"calibration_{name}.tar.gz"


def member_name(number: int) -> str:
    """Return the name of a sample in every archive."""
    return f"{number}.npy"


def refuse_finished_set(output: Path) -> None:
    """Raise :class:`CalibrationError` if ``output`` holds a finished calibration set: none is ever overwritten."""
    manifest = output / MANIFEST_NAME
    if manifest.exists():
        raise CalibrationError(f"{manifest}: this folder holds a calibration set; choose another, or remove it")


def pack_calibration(
    samples: Iterable[CalibrationSample],
    output: Path,
    *,
    num_samples: int,
    seed: int,
    model_sha256: str | None,
    host_geometry: HostGeometryConfig | None = None,
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Path:
    """Write the archives and the manifest; they get their names when all are whole, the manifest last.

    Samples are taken one by one and only one is held at a time.

    Args:
        samples: the samples, numbered 1..N in this order.
        output: the folder.
        num_samples: N.
        seed: the plan's, for the manifest.
        model_sha256: the model that made the prev_bev states, for the manifest; ``None``: not known.
        host_geometry: of the network that the set is for; ``None``: it computes its geometry itself.
        threads: threads that compress; ``None``: one per core that this process may use.
        on_progress: called for every sample.

    Raises:
        CalibrationError: the folder holds a set already, a sample is not like the first or holds NaN, their
            number is not N, or the archives can't be written.
    """
    refuse_finished_set(output)
    manifest = output / MANIFEST_NAME
    origin = {"num_samples": num_samples, "seed": seed, "model_sha256": model_sha256}
    inputs = ARCHIVE_ORDER if host_geometry is None else HostGeometry(host_geometry).input_names
    samples = network_samples(samples, host_geometry)
    with named_disk_errors(output), ExitStack() as whole:
        manifest_path = whole.enter_context(atomic_path(manifest))
        paths = {name: whole.enter_context(atomic_path(output / archive_name(name))) for name in inputs}
        with ExitStack() as writing:
            archives = {name: writing.enter_context(new_archive(path, threads)) for name, path in paths.items()}
            tensors, entries = _add_samples(archives, samples, num_samples, on_progress)
        if len(entries) != num_samples:
            raise CalibrationError(f"{output}: {num_samples} samples were planned, {len(entries)} came")
        write_json(manifest_path, {"format": MANIFEST_FORMAT, **origin, "tensors": tensors, "samples": entries})
    return manifest


@contextmanager
def new_archive(path: Path, threads: int | None = None) -> Iterator[tarfile.TarFile]:
    """Open a new ``.tar.gz``; ``threads``: that compress, ``None``: one per core that this process may use."""
    with (
        igzip_threaded.open(path, "wb", GZIP_LEVEL, threads=threads or -1) as compressed,  # type: ignore[no-untyped-call]
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
    ):
        yield tar


def _add_samples(
    archives: Mapping[str, tarfile.TarFile],
    samples: Iterable[CalibrationSample],
    num_samples: int,
    on_progress: ProgressCallback,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Add every sample to the archives; return the manifest's tensors and samples."""
    tensors: dict[str, Any] = {}
    entries: list[dict[str, Any]] = []
    for number, sample in enumerate(samples, start=1):
        described = {name: _described(name, sample.arrays[name]) for name in archives}
        tensors = tensors or described
        _check_sample(sample, number, described, tensors)
        digests = {name: add_member(tar, number, sample.arrays[name]) for name, tar in archives.items()}
        entries.append(_entry(sample, digests))
        on_progress("pack calibration samples", number, num_samples)
    return tensors, entries


def add_member(tar: tarfile.TarFile, number: int, array: NDArray[Any]) -> str:
    """Add an array as ``<number>.npy``; return the sha256 of these bytes."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array))
    member = tarfile.TarInfo(member_name(number))
    member.size = buffer.tell()
    member.mode = _MEMBER_MODE
    buffer.seek(0)
    tar.addfile(member, buffer)
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def _described(name: str, array: NDArray[Any]) -> dict[str, Any]:
    return {"archive": archive_name(name), "shape": list(array.shape), "dtype": str(array.dtype)}


def _check_sample(
    sample: CalibrationSample, number: int, described: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    where = f"scene '{sample.planned.scene}', frame {sample.frame_index}"
    if sample.planned.number != number:
        raise CalibrationError(f"{where}: sample {sample.planned.number} came in place {number}")
    for name, array in sample.arrays.items():
        if array.dtype != np.float32 and not (name == INPUT_IMG and array.dtype == np.uint8):
            raise CalibrationError(
                f"{where}: {name} is {array.dtype}; it must be float32, or uint8 if it is {INPUT_IMG}"
            )
        if described[name] != expected[name]:
            raise CalibrationError(
                f"{where}: {name} is {array.shape}, that of the first sample is "
                f"{tuple(expected[name]['shape'])}; all samples must come from one model and image size"
            )
        if not np.isfinite(array).all():
            raise CalibrationError(f"{where}: {name} holds NaN or infinity; check the scene and the model")


def _entry(sample: CalibrationSample, digests: Mapping[str, str]) -> dict[str, Any]:
    return {
        "number": sample.planned.number,
        "scene": sample.planned.scene,
        "frame": sample.frame_index,
        "position": sample.planned.position,
        "sha256": dict(digests),
    }
