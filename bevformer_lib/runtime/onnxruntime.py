"""ONNX Runtime as a :class:`~bevformer_lib.runtime.base.Runtime`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.foreign_files import advice
from bevformer_lib.runtime.base import Runtime, RuntimeOptions, TensorSpec
from bevformer_lib.runtime.host_geometry import with_host_geometry
from bevformer_lib.runtime.model_metadata import KEEP_ROUNDING, read_model_metadata
from bevformer_lib.runtime.stdout import stdout_kept_apart

_log = logging.getLogger(__name__)

_ERRORS_ONLY: Final = 3
"""The CUDA provider warns of every convolution that its algorithm, which is asked for below, might be slow."""

_Provider: TypeAlias = tuple[str, dict[str, str]]

_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_NUMPY_DTYPES: Final[Mapping[str, type[np.generic]]] = MappingProxyType(
    {
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
        "tensor(double)": np.float64,
        "tensor(int8)": np.int8,
        "tensor(uint8)": np.uint8,
        "tensor(int16)": np.int16,
        "tensor(uint16)": np.uint16,
        "tensor(int32)": np.int32,
        "tensor(int64)": np.int64,
        "tensor(bool)": np.bool_,
    }
)
DEFAULT_DEVICE: Final = "cpu"
_LOG_ERRORS_ONLY: Final = 3


def open_model(model: Path, options: RuntimeOptions) -> Runtime:
    """Load a graph; where the host computes its geometry, that is done too.

    Raises:
        RuntimeUnavailableError: it can't be run here, or an option is another runtime's.
    """
    options.refuse("ONNX Runtime is no simulator", "image", "executable")
    options.refuse("ONNX Runtime runs on no NPU", "npu")
    loaded = OnnxRuntime(model, device=options.device or DEFAULT_DEVICE, threads=options.threads)
    return with_host_geometry(loaded, source=str(model))


class OnnxRuntime:
    """An ONNX model, loaded once and run on the CPU or on a CUDA device.

    The same feed gives the same bytes on the same machine with the same number of threads.
    """

    def __init__(
        self,
        model: Path,
        *,
        device: str = DEFAULT_DEVICE,
        threads: int | None = None,
        profile_prefix: Path | None = None,
        keep_memory: bool = True,
        named: Path | None = None,
    ) -> None:
        """Load ``model``.

        Args:
            model: the ``.onnx`` file; every shape must be static, those of outputs only where nothing is profiled.
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            threads: threads inside an operator; ``None``: as many as ``OMP_NUM_THREADS`` says, or one per physical
                core.
            profile_prefix: ONNX Runtime profiles every run into a file whose path begins so; ``None``: it does not.
            named: file to name in errors, where ``model`` is a changed copy of it; the copy's source was checked.
            keep_memory: whether memory is kept from run to run; without, runs take a fifth longer and a third less.

        Raises:
            RuntimeUnavailableError: ONNX Runtime is not installed, the device is not there, the file is no
                ONNX model that it can load, or the model has dynamic shapes.
        """
        ort = _import_onnxruntime()
        providers = _providers_of(device, ort)
        if not model.is_file():
            raise RuntimeUnavailableError(f"{model}: no such model file; check the path")
        if named is None:
            _check_graph(model)
        options = ort.SessionOptions()
        options.log_severity_level = _LOG_ERRORS_ONLY
        options.use_deterministic_compute = True
        if KEEP_ROUNDING in read_model_metadata(model):
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        else:
            # Without VNNI the fast 8-bit kernels saturate: a quantised model would be worse on older processors.
            options.add_session_config_entry("session.x64quantprecision", "1")
        # From the second run on all activations would lie in one block, beside what the first run took: BEVFormer-Tiny
        # 870 MB instead of 508 MB, no faster.
        options.enable_mem_pattern = False
        options.enable_cpu_mem_arena = keep_memory
        threads = _threads_of_environment() if threads is None else threads
        if threads is not None:
            if threads < 1:
                raise RuntimeUnavailableError(f"threads is {threads}; give 1 or more, or leave it out")
            options.intra_op_num_threads = threads
        if profile_prefix is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile_prefix)
        # ONNX Runtime's exceptions share no base class of their own.
        try:
            self._session = ort.InferenceSession(str(model), options, providers=providers)
        except Exception as error:
            raise RuntimeUnavailableError(
                f"{named or model}: ONNX Runtime {ort.__version__} can't load it as an ONNX model "
                f"({str(error).replace(str(model), str(named or model))}); {advice(model, 'export it again')}"
            ) from error
        wanted = providers[0][0]
        if wanted not in self._session.get_providers():
            raise RuntimeUnavailableError(
                f"device '{device}': {wanted} is installed but did not start; check that the CUDA and "
                f"cuDNN versions are those that onnxruntime-gpu {ort.__version__} needs, or use device 'cpu'"
            )
        self.inputs: Mapping[str, TensorSpec] = _specs(self._session.get_inputs(), model)
        self.outputs: Mapping[str, TensorSpec] = _specs(
            self._session.get_outputs(), model, may_be_open=profile_prefix is not None
        )

    @property
    def metadata(self) -> Mapping[str, str]:
        """The graph's ``metadata_props``, key -> value."""
        properties: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return properties

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Execute the model once and return all its outputs by name."""
        names = list(self.outputs)
        return dict(zip(names, self._session.run(names, dict(feed)), strict=True))

    def end_profiling(self) -> Path:
        """Stop profiling and return the file: JSON, one event per node and run, times in microseconds."""
        return Path(self._session.end_profiling())


def _check_graph(model: Path) -> None:
    """Check names, types and weights of a graph, where the package onnx is installed to read them.

    Raises:
        RuntimeUnavailableError: they have a fault.
    """
    try:
        from bevformer_lib.onnx_file import read_onnx

        read_onnx(model, external=False)
    except ImportError:
        return
    except (OSError, ValueError) as error:
        raise RuntimeUnavailableError(f"{model}: {error}") from error


def _import_onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"ONNX Runtime is not installed ({error}); install it with 'pip install bevformer-axera[cpu]' "
            "(or '[gpu]' for CUDA)"
        ) from error
    module: ModuleType = onnxruntime
    return module


def _threads_of_environment() -> int | None:
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(said) if said.isdecimal() and int(said) > 0 else None


def _providers_of(device: str, ort: ModuleType) -> list[_Provider]:
    """Return the execution providers, with their options, for a device name; the wanted one first."""
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return [(_CPU, {})]
    if kind != "cuda" or (":" in device and not number.isdecimal()):
        raise RuntimeUnavailableError(f"device '{device}' is not known; use 'cpu', 'cuda' or 'cuda:N'")
    if _CUDA not in ort.get_available_providers():
        raise RuntimeUnavailableError(
            f"device '{device}': this ONNX Runtime {ort.__version__} has no {_CUDA} (it has "
            f"{', '.join(ort.get_available_providers())}); replace it with "
            "'pip uninstall onnxruntime && pip install onnxruntime-gpu', or use device 'cpu'"
        )
    # CUDA's libraries come as wheels, whose folders the loader does not know.
    if hasattr(ort, "preload_dlls"):
        with stdout_kept_apart(_log):
            ort.preload_dlls()
    ort.set_default_logger_severity(_ERRORS_ONLY)
    cuda = {
        "device_id": number or "0",
        "use_tf32": "0",  # keeps 10 bits of mantissa
        # The exhaustive search picks kernels by their timing, the heuristic one takes as much memory as there is: seven
        # times as much for BEVFormer-Base on an H200, which it made 1.7 times slower.
        "cudnn_conv_algo_search": "DEFAULT",
        "arena_extend_strategy": "kSameAsRequested",  # not by powers of two
    }
    return [(_CUDA, cuda), (_CPU, {})]


def _specs(arguments: Iterable[Any], model: Path, *, may_be_open: bool = False) -> Mapping[str, TensorSpec]:
    return MappingProxyType({argument.name: _spec(argument, model, may_be_open) for argument in arguments})


def _spec(argument: Any, model: Path, may_be_open: bool) -> TensorSpec:
    """Turn ONNX Runtime's description of an input or output into ours, refusing dynamic shapes or leaving them out."""
    is_fixed = all(isinstance(size, int) and size > 0 for size in argument.shape)
    if not is_fixed and not may_be_open:
        raise RuntimeUnavailableError(
            f"{model}: '{argument.name}' has the dynamic shape {argument.shape}; export it with static shapes"
        )
    if argument.type not in _NUMPY_DTYPES:
        raise RuntimeUnavailableError(
            f"{model}: '{argument.name}' is a {argument.type}, which this pipeline can't feed or read"
        )
    return TensorSpec(argument.name, tuple(argument.shape) if is_fixed else (), np.dtype(_NUMPY_DTYPES[argument.type]))
