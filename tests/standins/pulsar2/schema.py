"""The stand-in's own reading of the build config's documentation, apart from the product's.

A spec is a callable that takes a value and the path of its key and raises :class:`ConfigRefusedError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from tests.standins.pulsar2.personality import MAJOR

Spec = Callable[[Any, str], None]


class ConfigRefusedError(Exception):
    """What the vendor's protobuf parser would say."""


def _refuse(path: str, what: str) -> None:
    raise ConfigRefusedError(f"google.protobuf.json_format.ParseError: Failed to parse {path} field: {what}")


def text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        _refuse(path, f"expected string, got {value!r}")


def boolean(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        _refuse(path, f"expected bool, got {value!r}")


def integer(low: int | None = None, high: int | None = None) -> Spec:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            _refuse(path, f"expected int32, got {value!r}")
        if (low is not None and value < low) or (high is not None and value > high):
            _refuse(path, f"{value} is out of range")

    return check


def number(allowed: Callable[[float], bool] = lambda value: True) -> Spec:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            _refuse(path, f"expected float, got {value!r}")
        if not allowed(value):
            _refuse(path, f"{value} is out of range")

    return check


def choice(*names: str) -> Spec:
    def check(value: Any, path: str) -> None:
        if value not in names or not isinstance(value, str):
            _refuse(path, f"Invalid enum value {value!r}, expected one of {', '.join(names)}")

    return check


def each(spec: Spec) -> Spec:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            _refuse(path, f"repeated field must be a list, got {value!r}")
        for place, entry in enumerate(value):
            spec(entry, f"{path}[{place}]")

    return check


def anything(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        _refuse(path, f"expected an object, got {value!r}")


def message(name: str, fields: dict[str, Spec], *, required: tuple[str, ...] = ()) -> Spec:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            _refuse(path, f"expected an object, got {value!r}")
        for key, entry in value.items():
            if key not in fields:
                raise ConfigRefusedError(
                    f'google.protobuf.json_format.ParseError: Message type "pulsar2.build.{name}" has no field named '
                    f'"{key}" at "{path}".'
                )
            fields[key](entry, f"{path}.{key}" if path else key)
        for key in required:
            if not value.get(key):
                _refuse(f"{path}.{key}", "is required")

    return check


def _layer_config(value: Any, path: str) -> None:
    _LAYER_FIELDS(value, path)
    chosen = [key for key in ("layer_name", "op_type", "layer_names", "op_types") if value.get(key)]
    starts, ends = bool(value.get("start_tensor_names")), bool(value.get("end_tensor_names"))
    if starts != ends or len(chosen) + starts != 1:
        _refuse(path, "must choose between layer_name, op_type, layer_names, op_types, start and end tensor names")


_DATA_TYPE = choice("U8", "S8", "U16", "S16", "FP32")
_LAYER_FIELDS = message(
    "LayerConfig",
    {
        "layer_name": text,
        "layer_names": each(text),
        "op_type": text,
        "op_types": each(text),
        "start_tensor_names": each(text),
        "end_tensor_names": each(text),
        "data_type": _DATA_TYPE,
        "output_data_type": _DATA_TYPE,
        "weight_data_type": choice("S8", "FP32"),
    },
)
_INPUT_CONFIG = message(
    "InputQuantConfig",
    {
        "tensor_name": text,
        "calibration_dataset": text,
        "calibration_format": choice("Image", "Numpy", "Binary", "NumpyObject"),
        "calibration_size": integer(-1),
        "calibration_mean": each(number()),
        "calibration_std": each(number()),
    },
    required=("tensor_name", "calibration_dataset"),
)
_QUANT = message(
    "QuantConfig",
    {
        "input_configs": each(_INPUT_CONFIG),
        "layer_configs": each(_layer_config),
        "calibration_method": choice("MinMax", "Percentile", "MSE", "KL"),
        "precision_analysis": boolean,
        "precision_analysis_method": choice("PerLayer", "EndToEnd"),
        "precision_analysis_mode": choice("Reference", "NPUBackend"),
        "input_sample_dir": text,
        "highest_mix_precision": boolean,
        "conv_bias_data_type": choice("S32", "FP32"),
        "ln_scale_data_type": choice("FP32", "S32", "U32"),
        "refine_weight_threshold": number(lambda value: value == -1 or 0 <= value < 1e-4),
        "enable_smooth_quant": boolean,
        "smooth_quant_threshold": number(lambda value: 0 <= value <= 1),
        "smooth_quant_strength": number(),
        "transformer_opt_level": integer(0, 2),
        "check": integer(0, 1),
        "disable_auto_refine_scale": boolean,
        "disable_quant_optimization": boolean,
        "enable_easy_quant": boolean,
        "enable_brecq": boolean,
        "enable_lsq": boolean,
        "enable_adaround": boolean,
        "finetune_epochs": integer(1),
        "finetune_block_size": integer(1),
        "finetune_batch_size": integer(1),
        "finetune_lr": number(lambda value: value > 0),
        "device": choice("cpu", *(f"cuda:{device}" for device in range(8))),
    },
    required=("input_configs",),
)
_INPUT_PROCESSOR = message(
    "InputProcessor",
    {
        "tensor_name": text,
        "tensor_format": choice("AutoColorSpace", "BGR", "RGB", "GRAY"),
        "tensor_layout": choice("NHWC", "NCHW"),
        "src_format": choice(
            "AutoColorSpace", "GRAY", "BGR", "RGB", "YUYV422", "UYVY422", "YUV420SP", "YVU420SP", "RAW"
        ),
        "src_layout": choice("NHWC", "NCHW"),
        "src_dtype": choice("U8", "S8", "U16", "S16", "U32", "S32", "FP16", "FP32"),
        "src_extra_shapes": each(message("Shape", {"shape": each(integer(1))})),
        "csc_mode": choice("NoCSC", "Matrix", "FullRange", "LimitedRange"),
        "csc_mat": each(number()),
        "mean": each(number()),
        "std": each(number()),
        "padding": each(integer()),
        "padding_mode": choice("constant"),
        "padding_constant_value": integer(),
        "slicing": each(integer()),
        "scale": number(),
        "zeropoint": integer(),
    },
    required=("tensor_name",),
)


def _input_processor(value: Any, path: str) -> None:
    _INPUT_PROCESSOR(value, path)
    yuv = value.get("src_format") in ("YUYV422", "UYVY422", "YUV420SP", "YVU420SP")
    if yuv and value.get("csc_mode", "NoCSC") == "NoCSC":
        _refuse(path, "src_format is YUV but csc_mode is NoCSC")


_COMPILER_FIELDS: dict[str, Spec] = {
    "static_batch_sizes": each(integer(1)),
    "max_dynamic_batch_size": integer(0),
    "ddr_bw_limit": number(lambda value: value >= 0),
    "disable_ir_fix": boolean,
    "check": integer(0, 3),
    "npu_perf": boolean,
    "check_mode": choice("CheckOutput", "CheckPerLayer"),
    "check_rtol": number(),
    "check_atol": number(),
    "check_cosine_simularity": number(),
    "check_tensor_black_list": each(text),
    "enable_slice_mode": boolean,
    "enable_tile_mode": boolean,
    "enable_data_soft_compression": boolean,
    "input_sample_dir": text,
    "compiler_group_patterns": each(anything),
}
_SUB_COMPILER = message(
    "CompilerConfig", {**_COMPILER_FIELDS, "start_tensor_names": each(text), "end_tensor_names": each(text)}
)
_COMPILER = message("CompilerConfig", {**_COMPILER_FIELDS, "sub_configs": each(_SUB_COMPILER)})
_OP_PROCESSOR = message("OpProcessor", {"op_name": text, "attrs": anything}, required=("op_name",))
NEWEST = 7
ADDED_HARDWARE, ADDED_KEYS = {"AX637", "AX8860"}, {"scale", "zeropoint"}
NPU_MODES = {
    "AX650": ("NPU1", "NPU2", "NPU3"),
    "M76H": ("NPU1", "NPU2", "NPU3"),
    "AX620E": ("NPU1", "NPU2"),
    "AX615": ("NPU1", "NPU2"),
    "M57": ("NPU1",),
    "AX637": ("NPU1",),
    "AX8860": ("NPU1", "NPU2", "NPU4"),
}
_ONNX_OPTIONS = (
    "disable_onnx_optimization",
    "enable_onnxsim",
    "model_check",
    "disable_transformation_check",
    "save_tensors_data",
)
_BUILD = message(
    "BuildConfig",
    {
        "input": text,
        "output_dir": text,
        "output_name": text,
        "work_dir": text,
        "model_type": choice("ONNX", "QuantAxModel", "QuantONNX"),
        "target_hardware": choice(*NPU_MODES),
        "npu_mode": choice("NPU1", "NPU2", "NPU3", "NPU4"),
        "input_shapes": text,
        "onnx_opt": message("OnnxOptimizeOption", dict.fromkeys(_ONNX_OPTIONS, boolean)),
        "quant": _QUANT,
        "input_processors": each(_input_processor),
        "output_processors": each(
            message(
                "OutputProcessor",
                {
                    "tensor_name": text,
                    "tensor_layout": choice("NHWC", "NCHW"),
                    "dst_perm": each(integer(0)),
                    "output_dtype": choice("FP32", "U8"),
                },
                required=("tensor_name",),
            )
        ),
        "const_processors": each(
            message("ConstProcessor", {"name": text, "data": each(number()), "data_path": text}, required=("name",))
        ),
        "op_processors": each(_OP_PROCESSOR),
        "quant_op_processors": each(_OP_PROCESSOR),
        "compiler": _COMPILER,
        "debug": message("DebugConfig", {"dump_frontend_graph": boolean}),
    },
)


def check_config(content: Any, *, major: int = MAJOR) -> None:
    """Check a whole build config, as a version has it.

    Raises:
        ConfigRefusedError: at the first defect, as a parser does.
    """
    _BUILD(content, "")
    if major < NEWEST:
        if content.get("target_hardware") in ADDED_HARDWARE:
            _refuse("target_hardware", f"Invalid enum value {content['target_hardware']!r}")
        for place, entry in enumerate(content.get("input_processors", ())):
            for key in ADDED_KEYS.intersection(entry):
                raise ConfigRefusedError(
                    'google.protobuf.json_format.ParseError: Message type "pulsar2.build.InputProcessor" has no field '
                    f'named "{key}" at "input_processors.{place}".'
                )
    hardware, mode = content.get("target_hardware", "AX650"), content.get("npu_mode", "NPU1")
    if mode not in NPU_MODES[hardware]:
        _refuse("npu_mode", f"Invalid enum value {mode!r} while target_hardware is {hardware}")
    for key in ("input_processors", "output_processors"):
        names = [entry["tensor_name"] for entry in content.get(key, ())]
        if len(set(names)) != len(names):
            _refuse(key, "tensor_name is given twice")


def strip_comments(source: str) -> str:
    """Remove js-style and python-style comments from relaxed JSON; strings are left alone."""
    return re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|#[^\n]*', lambda match: match.group(1) or "", source)
