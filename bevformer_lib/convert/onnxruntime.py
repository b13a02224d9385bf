"""Static quantisation by ONNX Runtime: the stand-in that needs no vendor software.

Weights become signed 8-bit numbers with a scale per output channel, activations unsigned 8-bit numbers with one
scale and zero point per tensor, in QDQ form: every tensor that is quantised passes a QuantizeLinear and a
DequantizeLinear, so that the file says exactly where precision is lost, and any ONNX runtime computes it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import onnx

from bevformer_lib.calibration.archive import CalibrationSet
from bevformer_lib.calibration.pack import MANIFEST_NAME
from bevformer_lib.convert.base import METADATA_PREFIX, Conversion
from bevformer_lib.convert.float_layers import check_kept, restore_kept_inputs
from bevformer_lib.convert.float_model import float_model_sha256, load_float_model, read_calibration_for
from bevformer_lib.convert.own_weights import give_own_weights
from bevformer_lib.convert.ranges import Range, SampleRuns, activation_ranges
from bevformer_lib.convert.selection import ACTIVATION_OP, LEARNT_OPS, Selection, select_nodes
from bevformer_lib.errors import ConversionError
from bevformer_lib.files import atomic_path, require_writable_file, sha256_of_file
from bevformer_lib.progress import ProgressCallback, no_progress

CONVERTER_NAME: Final = "onnxruntime"
SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "format": "QDQ",
        "activations": "uint8, per tensor, MinMax",
        "weights": "int8, per channel, symmetric",
    }
)
_OWN_METADATA_OF_TOOL: Final = "onnx.infer"


class OnnxRuntimeConverter:
    """Quantises with ONNX Runtime's QDQ quantiser; same inputs, same bytes."""

    def __init__(self, *, device: str = "cpu", threads: int | None = None, keep_float: Collection[str] = ()) -> None:
        """Choose where the float model runs, and what stays in float.

        Args:
            device: ``cpu``, ``cuda`` or ``cuda:N``.
            threads: threads inside an operator; ``None``: one per physical core.
            keep_float: names of learnt layers that are not quantised.
        """
        self._keep_float = frozenset(keep_float)
        self._device = device
        self._threads = threads

    def convert(
        self, model: Path, calibration: Path, output: Path, *, on_progress: ProgressCallback = no_progress
    ) -> Conversion:
        """Quantise ``model`` with the archives in ``calibration`` and write ``output`` atomically.

        Raises:
            ConversionError: the model can't be read or quantised, or does not fit the calibration set, or the output
                can't be written.
            CalibrationError: the calibration set is broken.
            OutputError: nothing can be written there.
            RuntimeUnavailableError: ONNX Runtime is not installed, or has no such device.
        """
        started = time.perf_counter()
        float_model = load_float_model(model)
        if output.resolve() == model.resolve():
            raise ConversionError(f"{output}: is the float model itself; give another output")
        if output.suffix != ".onnx":
            raise ConversionError(f"{output}: name the quantised model to write with the suffix .onnx")
        require_writable_file(output)
        samples = read_calibration_for(float_model, model, calibration)
        check_kept(select_nodes(float_model.graph), self._keep_float)
        selection = select_nodes(float_model.graph, self._keep_float)
        if not selection.layers:
            raise ConversionError(f"{model}: has no Conv, Gemm or MatMul with constant weights to quantise")
        runs = SampleRuns(samples, samples.num_samples, self._device, self._threads, on_progress)
        ranges = activation_ranges(float_model, selection.tensors, runs)
        quantized = quantize_nodes(float_model, selection, ranges, self._keep_float)
        _write_provenance(quantized, float_model, model, samples, self._keep_float)
        _save(quantized, output)
        return Conversion(
            output=output,
            converter=CONVERTER_NAME,
            settings=SETTINGS,
            num_samples=samples.num_samples,
            quantized_nodes=selection.quantized_nodes,
            float_nodes=selection.float_nodes,
            bytes_before=model.stat().st_size,
            bytes_after=output.stat().st_size,
            seconds=time.perf_counter() - started,
        )


def quantize_nodes(
    model: onnx.ModelProto, selection: Selection, ranges: Mapping[str, Range], keep_float: Collection[str] = ()
) -> onnx.ModelProto:
    """Insert QuantizeLinear and DequantizeLinear around the selected nodes, in place, and return the model.

    Args:
        model: the float model.
        selection: its nodes to quantise.
        ranges: smallest and largest value of every tensor of the selection.
        keep_float: learnt layers left out of the selection, which read float tensors.
    """
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    give_own_weights(model.graph, selection.layers)
    # The quantiser asks for the range of a convolution's own output even where it merges the Relu into it.
    merged = {node.input[0]: ranges[node.output[0]] for node in model.graph.node if node.name in selection.activations}
    quantizer = QDQQuantizer(
        model,
        True,  # per channel
        False,  # full 8-bit range of weights
        QuantType.QInt8,
        QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, {**ranges, **merged}),
        [*selection.layers, *selection.activations],
        [],
        [*LEARNT_OPS, ACTIVATION_OP],
        {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    restore_kept_inputs(quantized, keep_float)
    return quantized


def _write_provenance(
    quantized: onnx.ModelProto,
    float_model: onnx.ModelProto,
    path: Path,
    samples: CalibrationSet,
    keep_float: Collection[str],
) -> None:
    """Keep the float model's metadata and add what was done to it; no time stamps, no paths."""
    import onnxruntime

    properties = {entry.key: entry.value for entry in float_model.metadata_props if entry.key != _OWN_METADATA_OF_TOOL}
    properties |= {
        f"{METADATA_PREFIX}{key}": value
        for key, value in {
            "converter": CONVERTER_NAME,
            "float_model_sha256": float_model_sha256(float_model, path),
            "num_samples": str(samples.num_samples),
            "version.onnx": onnx.__version__,
            "version.onnxruntime": onnxruntime.__version__,
            **SETTINGS,
        }.items()
    }
    if keep_float:
        properties[f"{METADATA_PREFIX}keep_float"] = json.dumps(sorted(keep_float))
    manifest = samples.folder / MANIFEST_NAME
    if manifest.is_file():
        properties[f"{METADATA_PREFIX}calibration_manifest_sha256"] = sha256_of_file(manifest)
    del quantized.metadata_props[:]
    onnx.helper.set_model_props(quantized, properties)


def _save(model: onnx.ModelProto, output: Path) -> None:
    try:
        with atomic_path(output) as temporary:
            temporary.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ConversionError(f"{output}: {error.strerror or error}; nothing was written") from error
