"""A setting of Pulsar2 is declared once; everything that takes settings has it then."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.backends.converters import EMULATOR, PULSAR2
from bevformer_lib.cli.app import make_app
from bevformer_lib.emulator.converter import EmulatorOptions
from bevformer_lib.pulsar2.converter import Pulsar2Options
from bevformer_lib.pulsar2.settings import Pulsar2Settings, Use, settings_for
from bevformer_lib.store.digests import DigestCache
from flows.cli import commands
from flows.inputs import _pulsar2
from flows.request import BuildRequest, Pulsar2Request

ASKED = Pulsar2Request(recipe="int8", npu_mode="NPU2", image="pulsar2:7.0", executable=Path("/p"), memory_limit_gb=4.5)


def test_every_setting_is_an_option_and_a_field_of_the_form() -> None:
    names = Pulsar2Settings.model_fields.keys()
    assert settings_for(None, *Use) == names
    for taken in (Pulsar2Request, Pulsar2Options, EmulatorOptions):
        assert names <= taken.model_fields.keys()


@pytest.mark.parametrize("command", ["build", "convert"])
def test_every_setting_is_an_option_of_the_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_app(commands())([command, "--help"])
    printed = capsys.readouterr().out
    options = {
        "--pulsar2" if name == "executable" else f"--{name}".replace("_", "-") for name in settings_for(*Use, None)
    }
    assert all(option in printed for option in options)


@pytest.mark.parametrize(
    ("converter", "settings", "machine"),
    [
        (
            PULSAR2,
            {"recipe": "int8", "npu_mode": "NPU2", "image": "pulsar2:7.0"},
            {"executable": "/p", "memory_limit_gb": 4.5},
        ),
        (EMULATOR, {"recipe": "int8"}, {}),
    ],
)
def test_a_steps_key_holds_what_decides_its_outputs(
    converter: str, settings: dict[str, object], machine: dict[str, object], tmp_path: Path
) -> None:
    request = BuildRequest(model="tiny", checkpoint="c", scenes="s", store="t", converter=converter, pulsar2=ASKED)
    told = _pulsar2(request, DigestCache(tmp_path))
    assert told is not None
    assert (told.settings, told.machine) == (settings, machine)
