from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bevformer_lib.backends.converters import open_converter
from bevformer_lib.calibration.archive import read_calibration
from bevformer_lib.calibration.pack import MANIFEST_NAME
from bevformer_lib.emulator.converter import EmulatorOptions
from bevformer_lib.pulsar2.simulator import Pulsar2Run
from bevformer_lib.runtime.base import Runtime
from bevformer_lib.runtime.host import fed_to
from bevformer_lib.runtime.onnxruntime import OnnxRuntime
from bevformer_lib.runtime.temporal import TemporalSession
from tests.pulsar2.support import convert
from tests.support.calibration import ToyWorld, make_calibration, with_pixels


@pytest.fixture(scope="module")
def pixels(world: ToyWorld) -> ToyWorld:
    return with_pixels(world, world.model.with_name("pixels.onnx"))


@pytest.fixture(scope="module")
def of_pixels(pixels: ToyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_calibration(pixels, tmp_path_factory.mktemp("of pixels"), num_samples=3)


def outputs(world: ToyWorld, runtime: Runtime, num_frames: int) -> Iterator[dict[str, NDArray[Any]]]:
    """What a model makes of a scene's first frames, fed as it asks to be."""
    session, preprocessor = TemporalSession(runtime), fed_to(world.preprocessor, runtime)
    frames = world.scenes["scene-0000"].frames[:num_frames]
    for position, frame in enumerate(frames):
        inputs = preprocessor.inputs(frame, frames[position - 1] if position else None)
        yield dict(session.step(inputs, first=position == 0).outputs)


def require_equal(world: ToyWorld, float_images: Runtime, pixels: Runtime, num_frames: int = 3) -> None:
    assert [one.inputs["img"].dtype for one in (float_images, pixels)] == [np.float32, np.uint8]
    runs = (outputs(world, runtime, num_frames) for runtime in (float_images, pixels))
    for expected, found in zip(*runs, strict=True):
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


def test_a_calibration_set_of_pixels_holds_a_quarter_of_the_bytes(calibration: Path, of_pixels: Path) -> None:
    sets = [read_calibration(folder) for folder in (calibration, of_pixels)]
    assert [one.tensors["img"].dtype for one in sets] == [np.float32, np.uint8]
    manifest = json.loads((of_pixels / MANIFEST_NAME).read_text())
    assert [tensor["dtype"] for tensor in manifest["tensors"].values()] == ["uint8", "float32", "float32", "float32"]
    for normalised, one in zip(*sets, strict=True):
        assert 4 * one["img"].nbytes == normalised["img"].nbytes


def test_pulsar2_builds_the_numbers_that_it_builds_of_normalised_images(
    native: Path, world: ToyWorld, calibration: Path, pixels: ToyWorld, of_pixels: Path, tmp_path: Path
) -> None:
    before = convert(world, calibration, tmp_path / "float.axmodel", keep_build=tmp_path / "float")
    after = convert(pixels, of_pixels, tmp_path / "pixels.axmodel", keep_build=tmp_path / "pixels")
    assert after.facts["config"]["input_processors"][0] == {
        "tensor_name": "img",
        "src_dtype": "U8",
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
    }
    assert after.findings == before.findings
    assert after.facts["numbers_sha256"] == before.facts["numbers_sha256"]
    assert after.facts["precision_table"] == before.facts["precision_table"]
    assert str(of_pixels) in after.facts["config"]["quant"]["input_configs"][0]["calibration_dataset"]
    require_equal(world, *(Pulsar2Run(one.output) for one in (before, after)), num_frames=1)
    replayed = []
    for one, samples, build in ((world, calibration, "float"), (pixels, of_pixels, "pixels")):
        options = EmulatorOptions(recipe="int8", build=tmp_path / build, threads=1)
        output = tmp_path / f"{build}.onnx"
        conversion = open_converter("emulator", emulator=options).convert(one.model, samples, output)
        assert "img" not in " ".join(conversion.findings)
        replayed.append(OnnxRuntime(output, threads=1))
    require_equal(world, *replayed)


@pytest.mark.parametrize(
    ("converter", "options"),
    [
        ("onnxruntime", None),
        ("emulator", EmulatorOptions(recipe="int8", threads=1)),
        ("emulator", EmulatorOptions(recipe="all-u16", threads=1)),
    ],
)
def test_so_do_the_others(
    world: ToyWorld,
    calibration: Path,
    pixels: ToyWorld,
    of_pixels: Path,
    tmp_path: Path,
    converter: str,
    options: EmulatorOptions | None,
) -> None:
    opened = []
    for one, samples in ((world, calibration), (pixels, of_pixels)):
        output = tmp_path / one.model.name
        open_converter(converter, threads=1, emulator=options).convert(one.model, samples, output)
        opened.append(OnnxRuntime(output, threads=1))
    require_equal(world, *opened)


def test_images_without_a_std_stay_the_emulators(world: ToyWorld, calibration: Path, tmp_path: Path) -> None:
    """Caffe's models divide by 1, which the converter drops."""
    caffe = replace(world.preprocessor.img_norm, std=(1.0, 1.0, 1.0))
    opened = []
    for number, preprocessor in enumerate([replace(world.preprocessor, img_norm=caffe)] * 2):
        one = replace(world, preprocessor=preprocessor)
        one = with_pixels(one, tmp_path / "pixels.onnx") if number else one
        samples = make_calibration(one, tmp_path / str(number), num_samples=2)
        output = tmp_path / f"emulated-{number}.onnx"
        open_converter("emulator", threads=1, emulator=EmulatorOptions(recipe="int8", threads=1)).convert(
            one.model, samples, output
        )
        opened.append(OnnxRuntime(output, threads=1))
    require_equal(replace(world, preprocessor=replace(world.preprocessor, img_norm=caffe)), *opened)
