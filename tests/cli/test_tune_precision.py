from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from bevformer_lib.precision import groups
from bevformer_lib.precision.candidate import CandidateResult
from tests.support.calibration import ToyWorld, make_calibration
from tests.support.commands import bevformer
from tests.support.planted import plant_sensitive_layers

PLANTED = ("toy/history", "toy/layer1.value")


@dataclasses.dataclass(frozen=True)
class Planted:
    """A model with planted layers, and what tuning it takes."""

    model: Path
    arguments: tuple[Path, ...]


@pytest.fixture(scope="module")
def planted(toy_world: ToyWorld, config_json: Path, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("plänted")
    model = plant_sensitive_layers(toy_world.model, folder / "planted.onnx", PLANTED)
    calibration = make_calibration(dataclasses.replace(toy_world, model=model), folder)
    return Planted(model, (model, config_json, calibration, toy_world.scenes_root))


def test_planted_layers_are_found_exactly(planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tuned"
    assert bevformer("tune-precision", *planted.arguments, "--output-dir", out, "--min-cosine", "0.995") == 0
    printed = capsys.readouterr().out
    assert "keep 2 of" in printed
    assert "(minimal;" in printed
    facts = json.loads((out / "precision.json").read_text())
    assert facts["kept"] == list(PLANTED)
    assert facts["minimal"] is True
    assert 0 < facts["kept_macs_share"] < 0.5
    alone = {group["name"]: group["error_alone"] for group in facts["groups"]}
    assert set(sorted(alone, key=alone.__getitem__)[-2:]) == set(PLANTED)
    chosen = next(candidate for candidate in facts["candidates"] if candidate["kept"] == sorted(PLANTED))
    assert chosen["passed"]
    assert chosen["frames"] == facts["frames"] == 15
    without = next(candidate for candidate in facts["candidates"] if candidate["kept"] == [])
    assert not without["passed"]
    assert without["frames"] < 15

    assert json.loads((out / "keep_float.json").read_text()) == list(PLANTED)
    overrides = yaml.safe_load((out / "layer_configs.yaml").read_text())
    assert overrides == {
        "quant": {"layer_configs": [{"layer_names": list(PLANTED), "data_type": "U16", "output_data_type": "U16"}]}
    }
    svg = ElementTree.fromstring((out / "trade_off.svg").read_text())  # noqa: S314 - our own file
    dots = [node for node in svg.iter("{http://www.w3.org/2000/svg}circle") if node.get("class") != "chosen"]
    assert len(dots) == len(facts["candidates"])
    assert {path.name for path in out.iterdir()} == {
        "precision.json", "layer_configs.yaml", "keep_float.json", "trade_off.svg",
        "candidates.json", "reference", "ranges", "scratch",
    }  # fmt: skip
    assert list((out / "scratch").iterdir()) == []


@pytest.mark.parametrize(("option", "kept"), [("--by-layer", list(PLANTED)), ("--no-by-layer", None)])
def test_planted_layers_are_found_inside_of_groups(
    planted: Planted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    kept: list[str] | None,
) -> None:
    monkeypatch.setattr(groups, "group_name", lambda layer: "layer1" if "layer1" in layer else "rest")
    arguments = ("tune-precision", *planted.arguments, "--output-dir", tmp_path / "out", "--min-cosine", "0.995")
    assert bevformer(*arguments, option) == 0
    printed = capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "precision.json").read_text())
    layers = json.loads((tmp_path / "out" / "keep_float.json").read_text())
    if kept is None:
        assert facts["kept"] == ["rest", "layer1"] or facts["kept"] == ["layer1", "rest"]
        assert len(layers) > len(PLANTED)
    else:
        assert f"keep 2 of 2 groups, {len(kept)} of their" in printed
        assert sorted(layers) == sorted(facts["kept"]) == sorted(kept)
        assert sorted(layer for group in facts["groups"] for layer in group["kept"]) == sorted(kept)
        assert facts["kept_macs_share"] < 0.5
    assert facts["minimal"] is True


def test_the_list_makes_a_model_that_holds_the_bar(planted: Planted, tmp_path: Path) -> None:
    model, config, calibration, scenes = planted.arguments
    (tmp_path / "keep.json").write_text(json.dumps(PLANTED))
    kept, plain = tmp_path / "kept.onnx", tmp_path / "plain.onnx"
    assert bevformer("quantize", model, calibration, "--output", kept, "--keep-float", tmp_path / "keep.json") == 0
    assert bevformer("quantize", model, calibration, "--output", plain) == 0
    worst = {}
    for candidate in (kept, plain):
        report = candidate.with_suffix(".json")
        assert bevformer("evaluate", model, candidate, config, scenes, "--output", report) == 0
        outputs = json.loads(report.read_text())["summary"]["outputs"].values()
        worst[candidate] = min(output["worst_cosine"] for output in outputs)
    assert worst[kept] > 0.995 > worst[plain]


def test_a_search_carries_on_where_it_was_stopped(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import bevformer_lib.precision.tune as tune

    arguments = ("tune-precision", *planted.arguments, "--min-cosine", "0.995", "--output-dir")
    assert bevformer(*arguments, tmp_path / "whole") == 0
    ran: list[int] = []
    real = tune.evaluate_candidate

    def stopping(*given: object, **options: object) -> CandidateResult:
        if len(ran) % 3 == 2:
            ran.append(0)
            raise KeyboardInterrupt
        ran.append(1)
        return real(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tune, "evaluate_candidate", stopping)
    statuses = []
    while not statuses or statuses[-1] == 130:
        statuses.append(bevformer(*arguments, tmp_path / "stopped"))
        assert len(statuses) < 30
    assert statuses[-1] == 0
    assert len(statuses) > 3
    facts = [json.loads((tmp_path / name / "precision.json").read_text()) for name in ("whole", "stopped")]
    for one in facts:
        for candidate in one["candidates"]:
            candidate.pop("seconds")
    assert facts[0] == facts[1]
    candidates = json.loads((tmp_path / "whole" / "candidates.json").read_text())
    assert sum(ran) == len(candidates["scenes"]) + len(candidates["probes"])
    capsys.readouterr()


def test_when_the_time_is_up_the_best_so_far_is_written(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("tune-precision", *planted.arguments, "--min-cosine", "0.995", "--output-dir", tmp_path / "out")
    assert bevformer(*arguments, "--time-limit-minutes", "0.000001") == 0
    assert "no set is known yet that holds the thresholds" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "precision.json").read_text())
    assert facts["kept"] is None
    assert facts["minimal"] is False
    assert not (tmp_path / "out" / "layer_configs.yaml").exists()


def test_nothing_need_be_kept(
    toy_world: ToyWorld, planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibration = make_calibration(toy_world, tmp_path)
    arguments = (toy_world.model, planted.arguments[1], calibration, toy_world.scenes_root)
    assert bevformer("tune-precision", *arguments, "--output-dir", tmp_path / "out", "--min-cosine", "0.995") == 0
    assert "nothing need be kept" in capsys.readouterr().out
    assert yaml.safe_load((tmp_path / "out" / "layer_configs.yaml").read_text()) == {"quant": {"layer_configs": []}}


def test_a_bar_in_nds_is_judged_by_the_emulated_npu(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ("--converter", "emulator", "--most-nds-lost", "1")
    assert bevformer("tune-precision", *planted.arguments, "--output-dir", out, *asked) == 0
    facts = json.loads((out / "precision.json").read_text())
    [candidate] = facts["candidates"]
    assert candidate["frames"] == facts["frames"]
    assert f"NDS {facts['reference_map_nds'][1]:.4f} -> {candidate['nds']:.4f}" in capsys.readouterr().out
    assert facts["made_with"]["converter"] == "emulator"
    assert (facts["kept"], facts["findings"]) == ([], [])
    assert yaml.safe_load((out / "layer_configs.yaml").read_text()) == {"quant": {"layer_configs": []}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--converter", "magic"), "converter 'magic' is not known"),
    ],
)
def test_bad_options(
    planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, str], said: str
) -> None:
    assert bevformer("tune-precision", *planted.arguments, "--output-dir", tmp_path / "out", *options) == 1
    assert said in capsys.readouterr().err


def test_another_bar_is_another_search(planted: Planted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("tune-precision", *planted.arguments, "--output-dir", tmp_path / "out")
    assert bevformer(*arguments, "--time-limit-minutes", "0.000001") == 0
    assert bevformer(*arguments, "--min-cosine", "0.9") == 1
    assert "belongs to another search (different thresholds)" in capsys.readouterr().err
