"""Checks of what runs models: ONNX Runtime, GPU, NPU."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata, util
from typing import Final

from bevformer_lib.doctor.finding import Finding, fail, ok, warn
from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.scratch import temporary_folder

_SECONDS: Final = 20.0
_CUDA: Final = "CUDAExecutionProvider"


def check_onnxruntime(*, cuda: bool) -> Finding:
    """Check that ONNX Runtime can be imported and has the execution provider that the role needs."""
    check = "ONNX Runtime"
    extra = "gpu" if cuda else "cpu"
    if util.find_spec("onnxruntime") is None:
        return fail(check, "not installed", f"pip install 'bevformer-axera[{extra}]'")
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(installed) == 2:
        other = installed[0] if cuda else installed[1]
        return fail(
            check,
            "onnxruntime and onnxruntime-gpu are both installed; they overwrite each other's files",
            f"pip uninstall --yes onnxruntime onnxruntime-gpu && pip install 'bevformer-axera[{extra}]' (not {other})",
        )
    try:
        import onnxruntime
    except ImportError as error:
        return fail(check, f"can't be imported: {error}", f"pip install --force-reinstall 'bevformer-axera[{extra}]'")
    providers = onnxruntime.get_available_providers()
    found = f"{onnxruntime.__version__} with {', '.join(providers)}"
    if cuda and _CUDA not in providers:
        fix = "pip uninstall --yes onnxruntime && pip install 'bevformer-axera[gpu]'"
        return fail(check, f"{found}: no {_CUDA}", fix)
    if cuda and (reason := _why_cuda_does_not_start()) is not None:
        fix = "install the CUDA and cuDNN that onnxruntime-gpu was built for (those of a PyTorch for the same CUDA do)"
        return fail(check, f"{found}, but {reason}", fix)
    return ok(check, found)


def _why_cuda_does_not_start() -> str | None:
    """Run a graph of one node on the GPU; a listed provider whose libraries are missing fails only then."""
    import numpy as np
    from onnx import TensorProto, helper, save

    from bevformer_lib.runtime.onnxruntime import OnnxRuntime

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "probe", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with temporary_folder() as folder:
        path = folder / "probe.onnx"
        save(model, str(path))
        try:
            [doubled] = OnnxRuntime(path, device="cuda").run({"x": np.ones(1, np.float32)}).values()
        except RuntimeUnavailableError as error:
            return str(error)
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            return f"a run on it fails: {error}"
    return None if doubled[0] == 2.0 else f"1 + 1 is {doubled[0]} on it"


def check_gpu() -> Finding:
    """Check that the driver shows an NVIDIA GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        fix = "install the NVIDIA driver; in a container start it with --gpus all"
        return fail("GPU", "no nvidia-smi on the path", fix)
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    try:
        completed = subprocess.run(
            (command, *query), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail("GPU", f"nvidia-smi does not answer ({type(error).__name__})", "restart the machine or its driver")
    lines = [line.strip() for line in completed.stdout.splitlines() if line.strip()]
    if completed.returncode != 0 or not lines:
        said = (completed.stdout + completed.stderr).strip() or "it shows no GPU"
        return fail("GPU", f"nvidia-smi: {said}", "load the NVIDIA driver (nvidia-smi must list the GPU)")
    return ok("GPU", "; ".join(lines))


def check_axengine(npu: str | None = None) -> Finding:
    """Check that AXEngine is installed and that the NPU starts, unless another program has it.

    Args:
        npu: ``board``, ``card`` or ``card:N``; ``None``: the board's, or the first card where there is no board's.
    """
    from bevformer_lib.runtime.axengine import Npu, import_axengine, start_npu
    from bevformer_lib.runtime.board import board_user

    try:
        chosen = Npu.chosen(import_axengine(), npu)
        if (user := board_user(chosen.name)) is not None:
            return warn("AXEngine", f"{chosen.name} not tried: in use by {user}", "run this again when that has ended")
        start_npu(npu)
    except RuntimeUnavailableError as error:
        found, _, fix = str(error).partition("; ")
        return fail("AXEngine", found, fix)
    return ok("AXEngine", f"{_version('axengine')} starts the NPU: {chosen.name}, {chosen.provider}")


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(version unknown)"
