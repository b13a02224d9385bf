"""What AXEngine 0.1.3 says, and what is made of it; each of these remedies would cost hours if it was the wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.runtime import axengine_errors
from bevformer_lib.runtime.axengine_errors import load_error, start_error

CORES = "Model type 'ModelType.TRIPLE' is not allowed when vnpu is inited as VNPUType.ENABLED."
NO_SYMBOL = "function/symbol 'AX_ENGINE_CreateContextV2' not found in library '/soc/lib/libax_engine.so': undefined"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "vnpu device" / "initialize.axmodel"  # words that the library uses, in a path
    path.parent.mkdir()
    path.write_bytes(b"0123456789")
    return path


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (ValueError(CORES), "compiled for more NPU cores", "another --npu-mode"),
        (RuntimeError("Failed to get VNPU attribute."), "can't start the NPU", "the driver is loaded"),
        (RuntimeError("Failed to initialize ax sys."), "can't start the NPU", "you may open the device"),
        (RuntimeError("Failed to initialize axcl runtime. 1."), "can't start the NPU", "you may open the device"),
        (AttributeError("cdata 'axclrtEngineVNpuKind *' has no attribute 'value'"), "can't start", "no other program"),
        (RuntimeError("Get AXCL device failed 0x00000000, find total 0 device."), "can't start", "axcl-smi"),
        (RuntimeError("Device index 3 is out of range, total 1 device."), "can't start", "--npu card:0"),
        (AssertionError("Failed to find library ax_sys. Please ensure"), "a part of its driver", "libax_sys.so"),
        (ImportError("Failed to find library ax_engine. Please"), "a part of its driver", "libax_engine.so"),
        (OSError("cannot load library '/usr/lib/libaxcl_rt.so'"), "a part of its driver", "driver package"),
        (AttributeError(NO_SYMBOL), "driver is older than AXEngine needs", "SDK 2.18 or newer"),
        (ValueError("Unsupported data type '0'."), "older than AXEngine needs for bfloat16", "SDK 2.18 or newer"),
        (ValueError("Unsupported data type '13'."), "does not take ('13'", "float32 inputs and outputs"),
        (RuntimeError("Failed to allocate memory for input."), "memory does not hold it", "end other programs"),
        (RuntimeError("axclrtMalloc failed 0x80300003 for output 1."), "memory does not hold it", "axcl-smi"),
        (RuntimeError("Failed to load model."), "does not say why", "for this chip and NPU mode"),
        (RuntimeError("axclrtEngineLoadFromFile failed."), "does not say why", "fill the NPU's memory"),
        (RuntimeError("Failed to get model type."), "can't load it", "for this chip and NPU mode"),
        (ValueError("7 is not a valid ModelType"), "can't load it", "for this chip and NPU mode"),
        (PermissionError(13, "Permission denied", "vnpu.axmodel"), "can't be read", "permissions"),
    ],
)
def test_each_has_its_own_remedy(model: Path, error: Exception, found: str, fix: str) -> None:
    said = str(load_error(model, error))
    assert found in said.partition("; ")[0] and fix in said.partition("; ")[2]
    assert str(error) in said or "Unsupported data type" in str(error)
    assert ("NPU cores" in said) == (str(error) == CORES)


def test_what_is_wrong_with_a_model_keeps_no_npu_from_starting() -> None:
    assert start_error(RuntimeError("Failed to get model type.")) is None
    assert start_error(ValueError(CORES)) is None


def test_the_board_says_how_much_memory_is_left(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = tmp_path / "mem_cmm_info"
    monkeypatch.setattr(axengine_errors, "MEMORY_OF_THE_BOARD", board)
    refused = RuntimeError("Failed to load model.")
    board.write_text("total size=4096KB(4MB),used=96KB(0MB + 96KB),remain=4000KB(3MB + 928KB),partition_number=1\n")
    assert "4 MB are left), and the driver does not say why" in str(load_error(model, refused))
    board.write_text("total size=4096KB(4MB),used=4096KB(4MB + 0KB),remain=0KB(0MB + 0KB),partition_number=1\n")
    assert "memory does not hold it too (Failed to load model.; 0 MB are left)" in str(load_error(model, refused))
