"""The calibration step against the plain way, over the same scenes and the same model, in one run.

    python -m benchmarks.calibration tiny.onnx inference_config.json scenes --num-samples 8

The plain way is what one writes first: decode a frame, infer, save its inputs, for every frame of every scene; then
draw samples and `tar -czf` them. Ours chooses first. Both ways run in a process of their own, one after the other, each
`--rounds` times; the ratio is that of the best rounds. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from bevformer_lib.calibration.prepare import prepare_calibration
from bevformer_lib.config.inference_config import InferenceConfig, read_inference_config
from bevformer_lib.files import sha256_of_file
from bevformer_lib.names import INPUT_CAN_BUS, INPUT_IMG, INPUT_LIDAR2IMG, INPUT_NAMES, INPUT_PREV_BEV, OUTPUT_BEV_EMBED
from bevformer_lib.runtime.contract import check_model
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.scenes.ego import can_bus_delta
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.reader import read_scenes
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.scenes.types import Scene

WAYS: Final = ("plain", "ours")
_MIB: Final = 1024


def plain(
    scenes: tuple[Scene, ...], model: OnnxRuntime, config: InferenceConfig, output: Path, num_samples: int
) -> None:
    """Save every frame, then pack a random choice with tar."""
    mean, std = np.array(config.img_norm.mean, np.float32), np.array(config.img_norm.std, np.float32)
    data = output / "quantization_data"
    data.mkdir()
    saved = []
    for scene in scenes:
        history = np.zeros(model.inputs[INPUT_PREV_BEV].shape, np.float32)
        for place, frame in enumerate(scene.frames):
            images = [cv2.imread(str(image.path)) for image in frame.images]
            if config.img_norm.to_rgb:
                images = [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images]
            normalised = [(image.astype(np.float32) - mean) / std for image in images]
            previous = scene.frames[place - 1].can_bus_absolute if place else None
            feed = {
                INPUT_IMG: np.ascontiguousarray(np.stack(normalised).transpose(0, 3, 1, 2)[None]),
                INPUT_LIDAR2IMG: frame.lidar_to_image.astype(np.float32)[None],
                INPUT_CAN_BUS: can_bus_delta(frame.can_bus_absolute, previous).astype(np.float32)[None],
                INPUT_PREV_BEV: history,
            }
            for name in INPUT_NAMES:
                np.save(data / f"{scene.name}_{frame.index:04d}_{name}.npy", feed[name])
            saved.append(f"{scene.name}_{frame.index:04d}")
            history = model.run(feed)[OUTPUT_BEV_EMBED]
    chosen = random.Random(0).sample(saved, num_samples)  # noqa: S311
    for name in INPUT_NAMES:
        folder = output / name
        folder.mkdir()
        for number, frame_name in enumerate(chosen, start=1):
            (data / f"{frame_name}_{name}.npy").rename(folder / f"{number}.npy")
        subprocess.run(["tar", "-czf", output / f"calibration_{name}.tar.gz", "-C", folder, "."], check=True)


def run_one(arguments: argparse.Namespace) -> None:
    """Do one way once and print its seconds and peak memory as JSON; reading the scenes and the model is left out."""
    config = read_inference_config(arguments.config)
    model = OnnxRuntime(arguments.model, threads=arguments.threads)
    geometry = check_model(model, config, arguments.model)
    scenes = read_scenes(arguments.scenes, SceneRequirements(geometry.num_cams, geometry.image_hw, config.img_norm))
    digest = sha256_of_file(arguments.model)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        started = time.perf_counter()
        if arguments.way == "plain":
            plain(scenes, model, config, Path(folder), arguments.num_samples)
        else:
            prepare_calibration(
                scenes,
                model,
                Preprocessor(geometry.image_hw, config.img_norm),
                Path(folder) / "calibration",
                num_samples=arguments.num_samples,
                seed=0,
                model_sha256=digest,
                threads=arguments.threads,
            )
        seconds = time.perf_counter() - started
        stored = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "disk_mb": stored / 1e6}))


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--num-samples", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scratch", type=Path, help="folder for the outputs, removed afterwards")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Run both ways in turn and print the comparison."""
    arguments = parse(words)
    if arguments.way:
        run_one(arguments)
        return
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.calibration", *(words or sys.argv[1:]), "--way", way]
            done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            if way not in best or done["seconds"] < best[way]["seconds"]:
                best[way] = done
    print("| | plain | ours | plain / ours |\n| --- | ---: | ---: | ---: |")
    for name, figure in (("time, s", "seconds"), ("peak memory, MiB", "peak_mib"), ("left on disk, MB", "disk_mb")):
        before, after = best["plain"][figure], best["ours"][figure]
        print(f"| {name} | {before:.1f} | {after:.1f} | {before / after:.2f} |")


if __name__ == "__main__":
    main()
