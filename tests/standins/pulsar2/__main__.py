"""The stand-in's command line: ``pulsar2 version``, ``build`` and ``run``, as documented.

It says in its version that it is a stand-in. The environment tells it how to fail (``STANDIN_PULSAR2_FAIL``): compile,
memory-error, killed, hang, balloon, no-output, half-output, other-model, ignore-precision, run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml

from tests.standins.axmodel_container import read_axmodel
from tests.standins.pulsar2.files import write_build, write_fused
from tests.standins.pulsar2.inputs import BuildRefusedError, check_names, load_calibration, load_graph
from tests.standins.pulsar2.personality import AS_SEEN, COMMIT, VERSION
from tests.standins.pulsar2.quantize import PrecisionFailsError, UnknownLayerError, built_types, calibrate, quantize
from tests.standins.pulsar2.schema import ConfigRefusedError, check_config, strip_comments

PLAIN_FLAGS = ("config", "input", "output_dir", "output_name", "work_dir", "model_type", "target_hardware", "npu_mode")
BOOLEAN = {
    "onnx_opt": ("disable_onnx_optimization", "enable_onnxsim", "model_check", "disable_transformation_check"),
    "quant": ("precision_analysis", "highest_mix_precision", "enable_smooth_quant", "disable_auto_refine_scale"),
    "compiler": ("disable_ir_fix", "npu_perf", "enable_slice_mode", "enable_tile_mode"),
}
VALUED = {
    "quant": (
        *("calibration_method", "precision_analysis_method", "precision_analysis_mode", "conv_bias_data_type"),
        *("refine_weight_threshold", "smooth_quant_threshold", "smooth_quant_strength", "transformer_opt_level"),
        *("input_sample_dir", "ln_scale_data_type", "check", "device"),
    ),
    "compiler": (
        *("max_dynamic_batch_size", "ddr_bw_limit", "check", "check_mode", "check_rtol", "check_atol"),
        *("check_cosine_simularity", "input_sample_dir"),
    ),
}


def place(path: str) -> Path:
    """Return where a path of the container really is; outside of containers, where it says."""
    root = os.environ.get("STANDIN_ROOT")
    return Path(path) if root is None else Path(root) / "data" / path if path[0] != "/" else Path(root + path)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def info(module: str, text: str, level: str = "INFO    ") -> None:
    say(f"{time.strftime('%Y-%m-%d %H:%M:%S')}.000 | {level} | {module} - {text}")


def fail(mode: str) -> bool:
    return os.environ.get("STANDIN_PULSAR2_FAIL") == mode


def traceback(message: str) -> int:
    say("Traceback (most recent call last):")
    say('  File "/opt/pulsar2/yamain/common/error.py", line 59, in wrapper')
    say("    ret = func(*args, **kwargs)")
    say(message)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="pulsar2", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", allow_abbrev=False)
    _add_build(commands.add_parser("build", allow_abbrev=False))
    run = commands.add_parser("run", allow_abbrev=False)
    for name in ("config", "list", "mode", "target_hardware"):
        run.add_argument(f"--{name}")
    for name in ("model", "input_dir", "output_dir"):
        run.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    if arguments.command == "version":
        say(f"version: {VERSION}\ncommit: {COMMIT}")
        return 0
    try:
        return run_model(arguments) if arguments.command == "run" else build(arguments)
    except (ConfigRefusedError, BuildRefusedError) as error:
        return traceback(str(error))
    except PrecisionFailsError as error:
        return traceback(str(error))
    except UnknownLayerError as error:
        return traceback(f"KeyError: layer_configs layer_name [{error}] not found in graph")


def _add_build(parser: argparse.ArgumentParser) -> None:
    for name in (*PLAIN_FLAGS, "input_shapes"):
        parser.add_argument(f"--{name}")
    for section, names in BOOLEAN.items():
        for name in names:
            parser.add_argument(f"--{section}.{name}", nargs="?", const="true", choices=("true", "false", "1", "0"))
    if AS_SEEN:
        parser.add_argument("--debug.dump_frontend_graph", nargs="?", const="true", choices=("true", "false"))
    for section, names in VALUED.items():
        for name in names:
            parser.add_argument(f"--{section}.{name}")


def read_config(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read the config file, lay the flags over it, and check the result."""
    config: dict[str, Any] = {}
    if arguments.config:
        path = place(arguments.config)
        if not path.is_file():
            raise BuildRefusedError(f"FileNotFoundError: config file [{arguments.config}] not exists")
        source = path.read_text(encoding="utf-8")
        try:
            config = json.loads(strip_comments(source)) if path.suffix == ".json" else yaml.safe_load(source)
        except ValueError as error:
            raise ConfigRefusedError(f"google.protobuf.json_format.ParseError: Failed to load JSON: {error}") from error
    for flag, value in vars(arguments).items():
        if value is None or flag in ("command", "config"):
            continue
        section, _, key = flag.rpartition(".")
        parsed: Any = {"true": True, "false": False}.get(value, value)
        if section and isinstance(parsed, str):
            parsed = json.loads(value) if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value) else value
        (config.setdefault(section, {}) if section else config)[key] = parsed
    check_config(config)
    for key in ("input", "output_dir", "quant"):
        if not config.get(key):
            raise ConfigRefusedError(f"google.protobuf.json_format.ParseError: {key} is required")
    return config


def build(arguments: argparse.Namespace) -> int:
    config = read_config(arguments)
    if config.get("model_type", "ONNX") != "ONNX":
        raise BuildRefusedError("NotImplementedError: this stand-in only takes model_type ONNX")
    if not config["input"].endswith(".onnx"):
        raise BuildRefusedError(f"ValueError: [{config['input']}] is no .onnx file")
    output = place(config["output_dir"])
    refuse_read_only(config["output_dir"])
    output.mkdir(parents=True, exist_ok=True)
    model = load_graph(place(config["input"]))
    check_names(config, model)
    names = [entry["tensor_name"] for entry in config["quant"]["input_configs"]]
    info("yamain.command.build:fill_default:300", f"apply default processor configuration to {names}", "WARNING ")
    samples = load_calibration(config, model, place)
    say(f"{len(samples)} File(s) Loaded.")
    say("Building onnx ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 100% 0:00:00")
    write_fused(config, output, model)
    info("yamain.command.build:quant:797", f"save optimized onnx to [{config['output_dir']}/frontend/optimized.onnx]")
    say("                               Quant Config Table")
    say(f"Transformer optimize level: {config['quant'].get('transformer_opt_level', 0)}")
    hang_or_balloon()
    if fail("ignore-precision"):
        config["quant"].pop("layer_configs", None)
    operators = built_types(config, model.graph)
    ranges = calibrate(model, samples, operators, _progress, config["quant"].get("calibration_method", "MinMax"))
    quantized = quantize(model, operators, ranges)
    say("Network Quantization Finished.")
    if fail("compile"):
        return traceback("AssertionError: unsupported tiling of op [/decoder/GridSample_3], type [AxGridSample]")
    if fail("memory-error"):
        return traceback("numpy.core._exceptions._ArrayMemoryError: MemoryError: Unable to allocate 38.1 GiB")
    if fail("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if fail("other-model"):
        quantized.graph.output[0].type.tensor_type.shape.dim[0].dim_value += 1
    write_build(config, output, model, quantized, operators, samples[0], ranges, (say, info))
    compiled = output / config.get("output_name", "compiled.axmodel")
    if fail("no-output"):
        compiled.unlink()
    if fail("half-output"):
        compiled.write_bytes(compiled.read_bytes()[:1000])
        return traceback("RuntimeError: disk write failed")
    return 0


def hang_or_balloon() -> None:
    if fail("hang"):
        say("Calibration hangs")
        subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"], check=False)
    if fail("balloon"):
        held = []
        for _ in range(60):
            held.append(np.ones(5_000_000))
            time.sleep(0.1)


def _progress(done: int, total: int) -> None:
    sys.stdout.write(f"\rCalibration Progress(Phase 1): {100 * done // total}%|██  | {done}/{total} [00:00<00:00]")
    if done == total:
        sys.stdout.write("\n")
    sys.stdout.flush()


def refuse_read_only(output: str) -> None:
    """In a container, only what was mounted without ``:ro`` takes files."""
    writable = os.environ.get("STANDIN_WRITABLE")
    if writable is not None and not any(output.startswith(prefix) for prefix in writable.split(os.pathsep) if prefix):
        raise BuildRefusedError(f"OSError: [Errno 30] Read-only file system: '{output}'")


def run_model(arguments: argparse.Namespace) -> int:
    """Run samples through a compiled model, files in, files out."""
    if fail("run"):
        return traceback("RuntimeError: simulation of subgraph_npu_0 failed")
    if not arguments.model.endswith(".axmodel"):
        raise BuildRefusedError(f"ValueError: [{arguments.model}] is neither ONNX, QuantAxModel nor CompiledAxmodel")
    try:
        compiled = read_axmodel(place(arguments.model))
    except (OSError, ValueError) as error:
        raise BuildRefusedError(f"RuntimeError: can't load model: {error}") from error
    refuse_read_only(arguments.output_dir)
    names = [""]
    if arguments.list:
        names = [line.strip() for line in place(arguments.list).read_text().splitlines() if line.strip()]
    for name in names:
        say(f">>> [{name}] start")
        feed = {}
        for value in compiled.container.graph.input:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
            path = place(arguments.input_dir) / name / (re.sub(r"[^a-zA-Z0-9_-]", "_", value.name) + ".bin")
            if not path.is_file():
                raise BuildRefusedError(f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'")
            content = path.read_bytes()
            if len(content) != int(np.prod(shape)) * dtype.itemsize:
                raise BuildRefusedError(
                    f"ValueError: [{value.name}] has {len(content)} bytes, expected {dtype} {shape}"
                )
            feed[value.name] = np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape)
        for tensor, array in compiled.execute(feed).items():
            file = place(arguments.output_dir) / name / (re.sub(r"[^a-zA-Z0-9_-]", "_", tensor) + ".bin")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(array.astype(array.dtype.newbyteorder("<")).tobytes())
            say(f"write [{tensor}] to [{arguments.output_dir}/{name}/{file.name}] successfully")
        say(f">>> [{name}] finish")
    return 0


if __name__ == "__main__":
    sys.exit(main())
