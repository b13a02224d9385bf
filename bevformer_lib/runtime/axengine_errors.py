"""What AXEngine, its drivers and its devices say when something is wrong, as one clear error each.

The library raises whatever its layers raise, most of it as ``RuntimeError`` without the driver's own code, so that only
its words tell one thing from another. They are those of 0.1.3.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Final

from bevformer_lib.errors import RuntimeUnavailableError

MEMORY_OF_THE_BOARD: Final = Path("/proc/ax_proc/mem_cmm_info")
"""Where a board's kernel says how much of the memory that the NPU can use is left."""

_UNKNOWN_TYPE: Final = "0"
_OLDER: Final = "older than AXEngine needs"
_UPDATE: Final = (
    "update the board's BSP, or its libax_engine.so alone (AX650: SDK 2.18 or newer, AX620E: SDK 3.12 or newer)"
)
_TYPES: Final = "uint8, int8, uint16, int16, uint32, int32, float32 and bfloat16"


def package_error(error: ModuleNotFoundError) -> RuntimeUnavailableError:
    """Return the error of a package that the library needs."""
    return RuntimeUnavailableError(
        f"AXEngine lacks a package that it needs ({error}); install it with 'pip install bevformer-axera[edge]'"
    )


def driver_error(error: Exception) -> RuntimeUnavailableError:
    """Return the error of a driver that is missing."""
    return RuntimeUnavailableError(
        f"AXEngine is installed but finds no NPU driver ({said(error)}); run this on an AXERA board (it needs "
        "libax_engine.so) or on a host with an AXERA card (it needs libaxcl_rt.so, from the card's driver package)"
    )


def start_error(error: Exception) -> RuntimeUnavailableError | None:
    """Return what keeps the NPU from starting whatever the model; ``None`` where that isn't it."""
    words = said(error)
    if isinstance(error, ModuleNotFoundError):
        return package_error(error)
    # The library loads its drivers when the first session starts; cffi's errors of that name no file.
    if isinstance(error, ImportError | AssertionError) or (isinstance(error, OSError) and error.filename is None):
        return RuntimeUnavailableError(
            f"AXEngine can't start the NPU ({words}): a part of its driver is missing; install the rest, or let the "
            "loader find it (ldconfig, LD_LIBRARY_PATH): a board needs libax_sys.so beside libax_engine.so, both in "
            "its BSP, a card all of its driver package"
        )
    if isinstance(error, AttributeError) and re.search("not found in library|undefined symbol", words):
        return RuntimeUnavailableError(f"AXEngine can't start the NPU ({words}): its driver is {_OLDER}; {_UPDATE}")
    if re.search(r"Device index \d+ is out of range|find total 0 device", words):
        return RuntimeUnavailableError(
            f"AXEngine can't start the NPU ({words}); 'axcl-smi' lists the cards, --npu card:0 is the first one"
        )
    # The last one is how 0.1.3 fails to say that a card was started in another mode.
    if re.match("Failed to initialize|Failed to get VNPU|axclrtEngineInit|.* AXCL device failed", words) or (
        "axclrtGetCurrentContext failed" in words or "axclrtEngineVNpuKind" in words
    ):
        return RuntimeUnavailableError(
            f"AXEngine can't start the NPU ({words}); check that the driver is loaded, that you may open the device "
            "(groups, or root), and that no other program holds it"
        )
    return None


def load_error(model: Path, error: Exception) -> RuntimeUnavailableError:
    """Return what is wrong with a model, or with the NPU that is to run it."""
    if (of_the_npu := start_error(error)) is not None:
        return of_the_npu
    words = said(error)
    if isinstance(error, OSError):
        return RuntimeUnavailableError(f"{model}: can't be read ({words}); check its permissions")
    if (unsupported := re.match("Unsupported data type '(.*)'", words)) is not None:
        return RuntimeUnavailableError(f"{model}: {_unsupported(unsupported.group(1))}")
    if "is not allowed when vnpu is inited as" in words:
        return RuntimeUnavailableError(
            f"{model}: was compiled for more NPU cores than this board's NPU mode gives ({words}); compile it with "
            "another --npu-mode, or change the board's mode"
        )
    left = memory_left()
    full = left is not None and left < model.stat().st_size
    if full or re.match("Failed to allocate memory|axclrtMalloc failed|axclrtEngineCreateIO failed", words):
        return RuntimeUnavailableError(
            f"{model}: the NPU's memory does not hold it too ({words}{_amount(left)}); end other programs that use "
            f"the NPU, or give it more memory: a board says in {MEMORY_OF_THE_BOARD} who has it, a card in 'axcl-smi'"
        )
    if re.match("Failed to load model|axclrtEngineLoadFromFile|axclrtEngineCreateContext", words):
        return RuntimeUnavailableError(
            f"{model}: AXEngine can't load it ({words}{_amount(left)}), and the driver does not say why; give an "
            ".axmodel that was compiled for this chip and NPU mode, by a Pulsar2 that the driver is not older than, or "
            "end other programs that fill the NPU's memory"
        )
    return RuntimeUnavailableError(
        f"{model}: AXEngine can't load it ({words}); give an .axmodel that was compiled for this chip and NPU mode"
    )


def said(error: BaseException) -> str:
    """Return an error's words, or its name where it has none."""
    return str(error) or type(error).__name__


def memory_left() -> int | None:
    """Return how many bytes a board's NPU has left; ``None`` where nothing says so, as on a host with a card."""
    with contextlib.suppress(OSError):
        found = re.findall(r"remain=(\d+)KB", MEMORY_OF_THE_BOARD.read_text(encoding="utf-8", errors="replace"))
        return int(found[-1]) * 1024 if found else None
    return None


def _amount(left: int | None) -> str:
    return "" if left is None else f"; {left / 1e6:,.0f} MB are left"


def _unsupported(kind: str) -> str:
    if kind.strip("<>").split(" ")[-1] == _UNKNOWN_TYPE:
        return (
            f"the NPU's driver does not know the type of an input or output, it is {_OLDER} for bfloat16; {_UPDATE}, "
            "or compile the model with float32 inputs and outputs"
        )
    return (
        f"has an input or output of a type that AXEngine does not take ('{kind}'; it takes {_TYPES}, so float16 is "
        "none of them); compile it with float32 inputs and outputs"
    )
