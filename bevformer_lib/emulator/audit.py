"""Whether a build's calibration method did anything: its scales beside those that MinMax would have given."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Final

from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.convert.float_model import load_float_model
from bevformer_lib.emulator.emulate import MINMAX, EmulationConfig, emulate
from bevformer_lib.emulator.formats import FP32
from bevformer_lib.emulator.replay import SCALE_TOLERANCE
from bevformer_lib.pulsar2.build import samples_used
from bevformer_lib.pulsar2.build_config import BuildConfig, QuantConfig
from bevformer_lib.pulsar2.quantization_record import read_record

SAME_SHARE: Final = 0.99
"""Share of scales from which on a method is said to have done nothing: a few tensors are fused in ways unknown."""


def audit_calibration(model: Path, calibration: Path, config: BuildConfig, build: Path) -> tuple[str, ...]:
    """Compare the scales of a build with those of MinMax, worked out over the same samples.

    Returns:
        A finding where another method was asked for and the scales are those of MinMax.

    Raises:
        ConversionError: the record of the build can't be read, or the graph can't be emulated.
        CalibrationError: the calibration set is broken.
        RuntimeUnavailableError: ONNX Runtime is not installed.
    """
    method = (config.quant or QuantConfig()).calibration_method or MINMAX
    if method == MINMAX:
        return ()
    record = read_record(build)
    samples = read_calibration(calibration)
    num_samples = samples_used(config, samples.num_samples)
    predicted = emulate(
        load_float_model(model),
        itertools.islice(samples, num_samples),
        replace(EmulationConfig.of_build(config), percentile=False),
        num_samples=num_samples,
    )
    compared = same = 0
    for tensor in predicted.tensors:
        built = record.of_tensor(tensor.name)
        if tensor.format == FP32 or built is None or built.per_channel or built.bits != int(tensor.format[1:]):
            continue
        compared += 1
        same += abs(built.scales[0] - tensor.scale) <= SCALE_TOLERANCE * max(built.scales[0], tensor.scale)
    if compared and same >= SAME_SHARE * compared:
        return (
            f"quant.calibration_method: {method} had no effect: {same} of {compared} scales are those of {MINMAX} over "
            "the same samples",
        )
    return ()
