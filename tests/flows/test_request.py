"""The form: what can't work is refused before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from bevformer_lib.backends.converters import CONVERTERS
from bevformer_lib.cli.app import make_app, run
from bevformer_lib.errors import BevformerError, ConfigError
from bevformer_lib.export.chip import chip_names
from bevformer_lib.pulsar2.build_config import NpuMode
from bevformer_lib.pulsar2.recipes import RECIPES
from bevformer_lib.store.digests import DigestCache
from flows.build import run_build
from flows.cli import commands
from flows.inputs import read_inputs
from flows.request import BuildRequest, Pulsar2Request
from tasks.settings import RunSettings
from tests.flows.conftest import make_request

GIVEN = {"model": "tiny", "checkpoint": "c.pth", "scenes": "scenes", "store": "store"}


def choices(model: type[BuildRequest | Pulsar2Request], field: str) -> list[Any]:
    annotation = model.model_fields[field].annotation
    found = [choice for part in get_args(annotation) for choice in (get_args(part) or (part,))]
    return [choice for choice in found if isinstance(choice, str)]


def test_the_choices_are_what_there_is() -> None:
    assert choices(BuildRequest, "target") == list(chip_names())
    assert choices(BuildRequest, "converter") == list(CONVERTERS)
    assert choices(Pulsar2Request, "recipe") == list(RECIPES)
    assert choices(Pulsar2Request, "npu_mode") == list(get_args(NpuMode))


COMMAND = ["build", *(word for name, value in GIVEN.items() for word in (f"--{name}", value))]


def test_the_options_of_the_command_are_the_fields_of_the_form() -> None:
    options = "--num-samples 4 --waive a --waive b:c --pulsar2 /opt/pulsar2 --npu-mode NPU3 --score-thr 0.2 --publish"
    _, bound, _ = make_app(commands()).parse_args([*COMMAND, *options.split()], exit_on_error=False)
    assert bound.arguments["request"] == BuildRequest(
        **GIVEN,
        num_samples=4,
        waive=("a", "b:c"),
        pulsar2=Pulsar2Request(executable="/opt/pulsar2", npu_mode="NPU3"),
        score_threshold=0.2,
        publish=True,
    )
    _, bound, _ = make_app(commands()).parse_args(COMMAND, exit_on_error=False)
    assert bound.arguments["request"] == BuildRequest(**GIVEN)


def test_the_help_of_the_command_is_that_of_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    make_app(commands())(["build", "--help"])
    printed = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert "How BEV cells sample the cameras" in printed
    assert f"[choices: {', '.join(chip_names())}]" in printed
    assert "--recipe" in printed
    assert "empty-waive" not in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--num-samples 0 --score-thr 2", ["--num-samples: ", "--score-threshold: "]),
        ("--recipe int-8", ["--recipe: ", "w8a16"]),
        ("--converter onnxruntime --runtime axengine", ["not by axengine"]),
    ],
)
def test_what_is_wrong_with_an_option_is_said(
    options: str, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(commands(), [*COMMAND, *options.split()]) == 2
    printed = " ".join(capsys.readouterr().err.replace("\u2502", " ").split())
    assert all(words in printed for words in said)
    assert "pydantic" not in printed


@pytest.mark.parametrize(
    "wrong",
    [
        {"store": ""},
        {"checkpoint": ""},
        {"target": "AX1"},
        {"device": "gpu"},
        {"device": "cuda:x"},
        {"npu": "cuda:0"},
        {"cameras_per_query": 0},
        {"pulsar2": {"recipe": "int-8"}},
        {"pulsar2": {"npu_mode": "NPU9"}},
        {"converter": "", "runtime": ""},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BuildRequest.model_validate(GIVEN | wrong)


@pytest.mark.parametrize(
    ("converter", "runtime", "fits"),
    [
        ("onnxruntime", None, True),
        ("onnxruntime", "onnxruntime", True),
        ("onnxruntime", "axengine", False),
        ("onnxruntime", "pulsar2", False),
        ("pulsar2", None, True),
        ("pulsar2", "pulsar2", True),
        ("pulsar2", "axengine", True),
        ("pulsar2", "onnxruntime", False),
    ],
)
def test_a_runtime_has_to_execute_what_the_converter_makes(converter: str, runtime: str | None, fits: bool) -> None:
    asked = GIVEN | {"converter": converter, "runtime": runtime}
    if fits:
        assert BuildRequest.model_validate(asked).runtime == runtime
    else:
        with pytest.raises(ValidationError, match=f"executed by .*, not by {runtime}"):
            BuildRequest.model_validate(asked)


def test_a_waiver_of_no_rule_is_said_before_any_work(tmp_path: Path) -> None:
    request = make_request(tmp_path, tmp_path / "store", waive=("no-such-rule",))
    with pytest.raises(BevformerError, match="can't waive 'no-such-rule'"):
        read_inputs(request, DigestCache(tmp_path / "digests"))


def test_a_run_of_a_deployment_takes_no_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would lie in the worker's temporary folder, which is deleted with all work in it."""
    given = {"store": "mystore", "policy": "gates.yaml", "scenes": "hf://owner/scenes", "checkpoint": "demo"}
    asked = make_request(tmp_path, tmp_path / "store").model_copy(update=given | {"model": "tiny"})
    assert asked.relative_paths == {"store": "mystore", "policy": "gates.yaml"}
    others = {"model": "own.py", "checkpoint": "tiny", "pulsar2": Pulsar2Request(overrides="own.yaml")}
    assert asked.model_copy(update=others).relative_paths == {
        **{"model": "own.py", "checkpoint": "tiny", "store": "mystore", "policy": "gates.yaml"},
        "pulsar2.overrides": "own.yaml",
    }
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "00000000-0000-0000-0000-000000000000")
    with pytest.raises(ConfigError, match=r"absolute paths or URIs, not store 'mystore', policy 'gates\.yaml'"):
        run_build(asked, RunSettings())


def test_settings_of_pulsar2_are_refused_by_converters_that_have_none() -> None:
    with pytest.raises(ValidationError, match="recipe, ptq_passes are settings of Pulsar2"):
        BuildRequest.model_validate(
            GIVEN | {"converter": "onnxruntime", "pulsar2": {"recipe": "int8", "ptq_passes": ["migrate-scales"]}}
        )
    assert BuildRequest.model_validate(GIVEN | {"converter": "onnxruntime", "pulsar2": {"recipe": None}})


def test_passes_run_in_their_order_and_once() -> None:
    asked = ["learn-rounding", "equalize-convolutions", "learn-rounding"]
    request = BuildRequest.model_validate(GIVEN | {"pulsar2": {"ptq_passes": asked}})
    assert request.pulsar2.ptq_passes == ("equalize-convolutions", "learn-rounding")
