"""Converters by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bevformer_lib.convert.base import Converter
from bevformer_lib.errors import ConversionError

if TYPE_CHECKING:
    from bevformer_lib.emulator.converter import EmulatorOptions
    from bevformer_lib.pulsar2.converter import Pulsar2Options

ONNXRUNTIME: Final = "onnxruntime"
PULSAR2: Final = "pulsar2"
EMULATOR: Final = "emulator"
CONVERTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        ONNXRUNTIME: "bevformer_lib.convert.onnxruntime",
        PULSAR2: "bevformer_lib.pulsar2.converter",
        EMULATOR: "bevformer_lib.emulator.converter",
    }
)
"""Converter -> its module; named by strings, as :data:`bevformer_lib.backends.runtimes.RUNTIMES` are.

Modules of converters that have no settings here give a function ``open_converter(*, device, threads)``.
"""
TAKE_PULSAR2_SETTINGS: Final = (PULSAR2, EMULATOR)
"""Converters that understand recipes and build configs of Pulsar2."""
DEFAULT_DEVICE: Final = "cpu"
EXECUTED_BY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {ONNXRUNTIME: ("onnxruntime",), PULSAR2: ("pulsar2", "axengine"), EMULATOR: ("onnxruntime",)}
)
"""Converter -> the runtimes that execute what it makes, the usual one first."""


def open_converter(
    kind: str,
    *,
    device: str = DEFAULT_DEVICE,
    threads: int | None = None,
    keep_float: Collection[str] = (),
    pulsar2: Pulsar2Options | None = None,
    emulator: EmulatorOptions | None = None,
) -> Converter:
    """Return a converter.

    Args:
        kind: one of :data:`CONVERTERS`.
        device: where ONNX Runtime runs the float model to calibrate: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: threads that ONNX Runtime may use; ``None``: its own choice.
        keep_float: names of layers that ONNX Runtime's quantiser leaves in float.
        pulsar2: how Pulsar2 converts; ``None``: its defaults.
        emulator: how it is emulated; ``None``: the defaults, on ``device`` with ``threads``.

    Raises:
        ConversionError: the kind is not known, or has no such option.
    """
    if kind not in CONVERTERS:
        raise ConversionError(f"converter '{kind}' is not known; use one of: {', '.join(CONVERTERS)}")
    if emulator is not None and kind != EMULATOR:
        raise ConversionError(f"settings of the emulator are given, but the converter is {kind}; leave them out")
    backend = import_module(CONVERTERS[kind])
    opened: Converter
    if kind == EMULATOR:
        if keep_float or pulsar2 is not None:
            raise ConversionError(
                "the emulator takes layers to keep as layer_configs, as Pulsar2 does; leave keep_float and Pulsar2's "
                "settings out"
            )
        opened = backend.EmulatorConverter(emulator or backend.EmulatorOptions(device=device, threads=threads))
    elif kind == ONNXRUNTIME:
        if pulsar2 is not None:
            raise ConversionError("settings of Pulsar2 are given, but the converter is onnxruntime; leave them out")
        opened = backend.OnnxRuntimeConverter(device=device, threads=threads, keep_float=keep_float)
    elif kind == PULSAR2:
        if keep_float:
            raise ConversionError("Pulsar2 takes layers to keep as layer_configs of its config; leave keep_float out")
        if device != DEFAULT_DEVICE or threads is not None:
            raise ConversionError(
                "Pulsar2 calibrates where quant.device of its config says; leave device and threads out"
            )
        audit = import_module("bevformer_lib.emulator.audit").audit_calibration
        opened = backend.Pulsar2Converter(pulsar2 or backend.Pulsar2Options(), audit)
    else:
        if keep_float or pulsar2 is not None:
            raise ConversionError(f"converter {kind}: has no keep_float and no settings of Pulsar2; leave them out")
        opened = backend.open_converter(device=device, threads=threads)
    return opened
