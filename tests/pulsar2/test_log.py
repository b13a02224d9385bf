from __future__ import annotations

import pytest

from bevformer_lib.pulsar2.log import (
    calibration_progress,
    last_meaningful_lines,
    ran_out_of_memory,
    read_figures,
    refuses_config,
    remedy,
)

# Lines of the documentation's own logs.
FAILED = """2024-09-25 11:45:26.533 | WARNING  | yamain.command.build:fill_default:300 - apply default
32 File(s) Loaded.
tiling op...   ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 68/68 0:00:00
│ input │ [1, 3,    │ output/q… │ Image     │
[11:45:28] AX Set Float Op Table Pass Running ...
Calibration Progress(Phase 1):   6%|▋         | 2/32 [00:00<00:03,  9.09it/s]
Network Quantization Finished.
Traceback (most recent call last):
  File "/opt/yamain/common/error.py", line 13, in wrapper
    return func(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^^^
AssertionError: something""".splitlines()


def test_figures() -> None:
    figures = read_figures(
        [
            "2024-09-25 11:45:34.159 | INFO     | build:compile_ptq_model:1060 - QuantAxModel macs: 280,262",
            "2025-04-28 11:30:35.434 | INFO     | build:compile_ptq_model:1123 - group 1 QuantAxModel macs: 0",
            "2024-09-25 11:45:36.467 | INFO     | yasched.test_onepass:results2model:2542 - max_cycle = 450,154",
        ]
    )
    assert (figures.max_cycle, figures.macs) == ((450_154,), (280_262, 0))


def test_progress() -> None:
    line = "Calibration Progress(Phase 1):   6%|▋         | 2/32 [00:00<00:03,  9.09it/s]"
    assert calibration_progress(line) == (1, 2, 32)
    assert calibration_progress("32 File(s) Loaded.") is None


def test_only_what_says_something_is_left() -> None:
    assert last_meaningful_lines(FAILED) == (
        "Network Quantization Finished.",
        "Traceback (most recent call last):",
        "AssertionError: something",
    )


@pytest.mark.parametrize(
    ("line", "config", "memory"),
    [
        ('google.protobuf.json_format.ParseError: Message type "x" has no field named "y" at "quant".', True, False),
        ("main.py: error: unrecognized arguments: --foo", True, False),
        ("numpy.core._exceptions._ArrayMemoryError: MemoryError: Unable to allocate 38.1 GiB", False, True),
        ("terminate called after throwing an instance of 'std::bad_alloc'", False, True),
        ("AssertionError: memory layout", False, False),
    ],
)
def test_why_it_failed(line: str, config: bool, memory: bool) -> None:
    assert (refuses_config([*FAILED, line]), ran_out_of_memory([*FAILED, line])) == (config, memory)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("KeyError: 'dont support IsNaN opr in AXOPS/ONNXOPS/CUSTOM_OPS'", "'bevformer lint' names the nodes"),
        ("TileFailException: AxLayerNorm", "FP32 for LayerNormalization"),
        ("TileFailException: tuple index out of range", "tensors of one axis"),
        ("AssertionError: job io size > ocm size, AxGather", "gather from parts"),
        ("AssertionError: unsupported tiling", None),
    ],
)
def test_what_was_behind_words_that_others_met(said: str, advice: str | None) -> None:
    found = remedy([*FAILED[:-1], said])
    assert (found is None) if advice is None else (advice in str(found))
