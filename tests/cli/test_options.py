"""Numbers and devices of all commands: nothing is rounded, nothing is beyond sense."""

from __future__ import annotations

from importlib import import_module

import pytest

from bevformer_lib.cli.app import EXIT_USAGE
from flows.cli import commands
from tests.support.commands import bevformer

INFER = ("infer", "model.onnx", "config.json", "scenes", "--output-dir", "out")
CONVERT = ("convert", "model.onnx", "calibration", "--output", "out.axmodel")
TUNE = ("tune-precision", "model.onnx", "config.json", "calibration", "scenes", "--output-dir", "out")
SCENES = ("make-scenes", "--output", "out")


def test_every_number_and_device_has_a_kind_of_its_own() -> None:
    bare = []
    for name, (module, _) in commands().items():
        options = getattr(import_module(module).command, "__annotations__", {})
        for option, kind in options.items() if name != "store" else ():
            number = any(word in kind for word in ("int", "float")) and not kind.startswith("Literal")
            if number or (option == "device" and "str" in kind):
                bare.append(f"{name} {option}: {kind}")
    assert bare == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*SCENES, "--frames", "3.5"), "'3.5' is not a whole number"),
        ((*SCENES, "--frames", "3.0"), "'3.0' is not a whole number"),
        ((*SCENES, "--frames", "0"), "must be from 1"),
        ((*SCENES, "--frames", "10000000000"), "must be from 1"),
        ((*SCENES, "--num-scenes", "1_000"), "not a whole number"),
        ((*SCENES, "--num-scenes", "9" * 5000), "not a whole number"),
        ((*SCENES, "--seed", "-1"), "must be from 0"),
        ((*SCENES, "--seed", str(2**63)), "must be from 0"),
        ((*SCENES, "--workers", "100000"), "must be from 1"),
        ((*INFER, "--threads", "1e3"), "not a whole number"),
        ((*INFER, "--threads", "-1"), "must be from 1"),
        ((*INFER, "--fps", "1e9"), "must be above 0, and at most 240"),
        ((*INFER, "--fps", "0"), "must be above 0, and at most 240"),
        ((*INFER, "--fps", "nan"), "must be above 0, and at most 240"),
        ((*INFER, "--score-thr", "1.5"), "must be from 0.0 to 1.0"),
        ((*INFER, "--score-thr", "nan"), "must be from 0.0 to 1.0"),
        ((*INFER, "--device", ""), "--device is empty; give a value, or leave it out"),
        ((*SCENES[:-1], ""), "--output is empty"),
        ((*INFER, "--output-dir="), "--output-dir= is empty"),
        (("check-scenes", "", "--config", "tiny"), "an argument is empty"),
        (("check-scenes", "a\0b", "--config", "tiny"), "holds a NUL character"),
        ((*INFER, "--device", "npu"), "must be cpu, cuda or cuda:N"),
        ((*INFER, "--device", "gpu"), "must be cpu, cuda or cuda:N"),
        ((*INFER, "--npu", "npu"), "must be board, card or card:N"),
        (("doctor", "--npu", "card:x"), "must be board, card or card:N"),
        ((*INFER, "--start-scene", "-1"), "must be from 0"),
        ((*INFER, "--host-rotate-center", "nan", "1"), "must be from -100,000"),
        (("profile", "model.onnx", "--runs", "-1"), "must be from 0"),
        ((*CONVERT, "--recipe", "int4"), "--recipe: "),
        ((*CONVERT, "--time-limit-minutes", "0"), "greater than 0"),
        ((*CONVERT, "--memory-limit-gb", "nan"), "less than or equal to 1000000"),
        ((*CONVERT, "--memory-limit-gb", "1e12"), "less than or equal to 1000000"),
        ((*TUNE, "--min-cosine", "1.5"), "must be from 0.0 to 1.0"),
        ((*TUNE, "--min-matched", "-1"), "must be from 0.0 to 1.0"),
        ((*TUNE, "--time-limit-minutes", "0"), "must be above 0"),
        (("make-checkpoint", "tiny", "--output", "x.pth", "--seed", "3.5"), "not a whole number"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_wrong_numbers(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bevformer(*arguments) == EXIT_USAGE
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())
