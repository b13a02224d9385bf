from __future__ import annotations

from typing import Any

import pytest

from bevformer_lib.pulsar2.build_config import BuildConfig
from bevformer_lib.pulsar2.errors import BuildConfigError
from bevformer_lib.pulsar2.parse import parse_build_config
from tests.standins.pulsar2.schema import ConfigRefusedError, check_config

INPUT = {"tensor_name": "img", "calibration_dataset": "a.tar.gz"}
WHOLE: dict[str, Any] = {
    "model_type": "ONNX",
    "target_hardware": "AX8860",
    "npu_mode": "NPU4",
    "input_shapes": "img:1x3x224x224;can_bus:1x18",
    "onnx_opt": {
        "disable_onnx_optimization": False,
        "enable_onnxsim": True,
        "model_check": True,
        "disable_transformation_check": False,
        "save_tensors_data": False,
    },
    "quant": {
        "input_configs": [
            {
                "tensor_name": "DEFAULT",
                "calibration_dataset": "/data/set.zip",
                "calibration_format": "NumpyObject",
                "calibration_size": -1,
                "calibration_mean": [127, 1.5],
                "calibration_std": [1],
            }
        ],
        "layer_configs": [
            {"layer_name": "Conv_0", "data_type": "U8", "output_data_type": "FP32", "weight_data_type": "S8"},
            {"op_type": "Add", "data_type": "S16"},
            {"layer_names": ["a", "b"], "data_type": "FP32"},
            {"op_types": ["Gemm"], "data_type": "S8"},
            {"start_tensor_names": ["13"], "end_tensor_names": ["15"], "data_type": "U16"},
        ],
        "calibration_method": "KL",
        "precision_analysis": True,
        "precision_analysis_method": "PerLayer",
        "precision_analysis_mode": "NPUBackend",
        "input_sample_dir": "",
        "highest_mix_precision": False,
        "conv_bias_data_type": "FP32",
        "ln_scale_data_type": "U32",
        "refine_weight_threshold": 1e-6,
        "enable_smooth_quant": True,
        "smooth_quant_threshold": 0.2,
        "smooth_quant_strength": 0.6,
        "transformer_opt_level": 2,
        "check": 1,
        "disable_auto_refine_scale": False,
        "disable_quant_optimization": False,
        "enable_easy_quant": False,
        "enable_brecq": False,
        "enable_lsq": False,
        "enable_adaround": True,
        "finetune_epochs": 500,
        "finetune_block_size": 4,
        "finetune_batch_size": 1,
        "finetune_lr": 1e-3,
        "device": "cuda:7",
    },
    "input_processors": [
        {
            "tensor_name": "img",
            "tensor_format": "BGR",
            "tensor_layout": "NCHW",
            "src_format": "YUV420SP",
            "src_layout": "NHWC",
            "src_dtype": "U8",
            "src_extra_shapes": [{"shape": [1, 3, 4, 4]}],
            "csc_mode": "Matrix",
            "csc_mat": [1.1, 1.2, 1.3, 1.4, 2.1, 2.2, 2.3, 2.4, 3.1, 3.2, 3.3, 3.4],
            "mean": [],
            "std": [1.0],
            "padding": [0, 0, 1, 1],
            "padding_mode": "constant",
            "padding_constant_value": 0,
            "slicing": [0, 0],
        }
    ],
    "output_processors": [{"tensor_name": "bev_embed", "dst_perm": [1, 0, 2], "output_dtype": "FP32"}],
    "const_processors": [{"name": "fc2.bias", "data": [0, 1]}, {"name": "c", "data_path": "x.npy"}],
    "op_processors": [{"op_name": "Resize_1", "attrs": {"mode": "linear"}}],
    "quant_op_processors": [{"op_name": "MaxPool_3", "attrs": {"ceil_mode": 0}}],
    "compiler": {
        "static_batch_sizes": [1, 2],
        "ddr_bw_limit": 3.5,
        "disable_ir_fix": False,
        "check": 3,
        "npu_perf": False,
        "check_mode": "CheckPerLayer",
        "check_rtol": 1e-5,
        "check_atol": 0,
        "check_cosine_simularity": 0.999,
        "check_tensor_black_list": ["a.*"],
        "enable_slice_mode": False,
        "enable_tile_mode": False,
        "enable_data_soft_compression": False,
        "input_sample_dir": "",
        "sub_configs": [{"start_tensor_names": ["a"], "end_tensor_names": ["b"], "enable_slice_mode": True}],
    },
}


def test_every_documented_field_is_accepted_and_kept() -> None:
    check_config(WHOLE, major=7)
    assert parse_build_config(WHOLE, "x").to_content() == WHOLE


def test_nothing_that_was_not_set_is_written() -> None:
    assert BuildConfig().to_content() == {}


def _quant(**fields: Any) -> dict[str, Any]:
    return {"quant": {"input_configs": [INPUT], **fields}}


REFUSED = [
    ({"typo": 1}, "typo: unknown key"),
    (_quant(calibration_metod="MSE"), "quant.calibration_metod: unknown key"),
    (_quant(calibration_method="mse"), "quant.calibration_method: .*'MinMax', 'Percentile', 'MSE' or 'KL'"),
    (_quant(precision_analysis="yes"), "quant.precision_analysis: .*found 'yes'"),
    (_quant(check=True), "quant.check"),
    (_quant(transformer_opt_level=3), "quant.transformer_opt_level: .*less than or equal to 2; found 3"),
    (_quant(smooth_quant_threshold=1.5), "quant.smooth_quant_threshold"),
    (_quant(refine_weight_threshold=0.5), "refine_weight_threshold must be 0 or more"),
    (_quant(device="cuda"), "quant.device"),
    (_quant(finetune_epochs=0), "quant.finetune_epochs"),
    (_quant(layer_configs=[{"data_type": "U8"}]), "quant.layer_configs.0: choose exactly one .* found none"),
    (
        _quant(layer_configs=[{"layer_name": "a", "op_type": "Add", "data_type": "U8"}]),
        "quant.layer_configs.0: .* found layer_name, op_type",
    ),
    (_quant(layer_configs=[{"start_tensor_names": ["a"], "data_type": "U8"}]), "need each other"),
    (_quant(layer_configs=[{"op_type": "Add", "data_type": "FP16"}]), "quant.layer_configs.0.data_type"),
    ({"quant": {"input_configs": [{"tensor_name": "img"}]}}, "quant.input_configs.0.calibration_dataset"),
    ({"npu_mode": "NPU4"}, "npu_mode NPU4: AX650 has NPU1, NPU2, NPU3"),
    ({"target_hardware": "AX620E", "npu_mode": "NPU3"}, "AX620E has NPU1, NPU2"),
    ({"target_hardware": "AX640"}, "target_hardware"),
    ({"input_processors": [{"tensor_name": "a"}, {"tensor_name": "a"}]}, "input_processors: .*'a' is given twice"),
    ({"output_processors": [{"tensor_name": "a", "output_dtype": "FP16"}]}, "output_processors.0.output_dtype"),
    ({"compiler": {"check": 4}}, "compiler.check"),
    ({"compiler": {"check_cosine_similarity": 0.9}}, "compiler.check_cosine_similarity: unknown key"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_what_the_documentation_rules_out_is_refused_here_and_by_the_standin(content: Any, message: str) -> None:
    with pytest.raises(BuildConfigError, match=rf"^my\.yaml: (?s:.*){message}"):
        parse_build_config(content, "my.yaml")
    with pytest.raises(ConfigRefusedError):
        check_config({**_quant(), **content})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_quant(layer_configs=[{"op_type": "Add"}]), "asks for no precision"),
        (_quant(input_configs=[INPUT, INPUT]), "'img' is given twice"),
        (_quant(input_configs=[{**INPUT, "calibration_dataset": "a.rar"}]), "must end in .tar"),
        (_quant(input_configs=[{**INPUT, "calibration_size": 0}]), "calibration_size must be 1 or more"),
        (_quant(input_configs=[{**INPUT, "calibration_std": [1, 0]}]), "can't be 0"),
        ({"input_processors": [{"tensor_name": "a", "csc_mode": "Matrix"}]}, "needs csc_mat"),
        ({"input_processors": [{"tensor_name": "a", "csc_mat": [1.0]}]}, "has 12"),
        ({"input_processors": [{"tensor_name": "a", "csc_mat": [0.0] * 3 + [8.0] + [0.0] * 8}]}, r"csc_mat\[3\] is 8"),
        ({"output_processors": [{"tensor_name": "a", "dst_perm": [0, 2]}]}, "no order of the axes"),
        ({"const_processors": [{"name": "a"}]}, "either data or data_path"),
        ({"const_processors": [{"name": "a", "data_path": "a.txt.gz"}]}, "must end in"),
        ({"input_shapes": "img=1x3"}, "must read like"),
        ({"compiler": {"static_batch_sizes": [2], "max_dynamic_batch_size": 4}}, "exclude each other"),
        ({"compiler": {"sub_configs": [{"enable_tile_mode": True}]}}, "needs start_tensor_names"),
        ({"compiler": {"start_tensor_names": ["a"]}}, "belong into compiler.sub_configs"),
    ],
)
def test_choices_that_make_no_sense(content: Any, message: str) -> None:
    with pytest.raises(BuildConfigError, match=message):
        parse_build_config(content, "my.yaml")


def test_all_defects_are_named_at_once() -> None:
    with pytest.raises(BuildConfigError) as caught:
        parse_build_config(_quant(check=5, typo=1), "my.yaml")
    assert "quant.check" in str(caught.value)
    assert "quant.typo" in str(caught.value)
