"""Policies: what is read, and what is refused with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.errors import ConfigError
from bevformer_lib.gates.policy import DEFAULT_POLICY, DEMO_POLICY, read_policy
from tests.support.micro import CLASS_NAMES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


def test_the_default_policy_suits_every_model() -> None:
    policy = read_policy(DEFAULT_POLICY, ("pedestrian",))
    assert policy.name == "default"
    names = [gate.expression.metric for gate in policy.gates]
    assert names[0] == "rounding.projection_step"  # causes are named before their effects
    assert all(name.startswith("diagnosis.") for name in names[1:8])


def test_sentences_and_gates_with_more(path: Path) -> None:
    path.write_text(
        """
name: night
gates:
  - metrics.recall.car >= reference - 0.05
  - gate: latency.p95_ms <= 100
    required: true
    cause: the board is too hot
"""
    )
    first, second = read_policy(path, CLASS_NAMES).gates
    assert (first.expression.metric, first.required) == ("metrics.recall.car", False)
    assert (second.required, second.cause) == (True, "the board is too hot")


def test_gates_that_follow_those_of_the_default_policy(path: Path) -> None:
    path.write_text("name: floor\nextends: default\ngates: [metrics.mAP >= 0.5]")
    policy = read_policy(path, CLASS_NAMES)
    default = read_policy(DEFAULT_POLICY, CLASS_NAMES).gates
    assert (policy.name, policy.gates[:-1]) == ("floor", default)
    assert policy.gates[-1].gate == "metrics.mAP >= 0.5"


def test_the_policy_of_the_demo_asks_for_what_its_model_finds() -> None:
    gates = read_policy(DEMO_POLICY, CLASS_NAMES).gates
    assert [gate.expression.metric for gate in gates[-2:]] == ["metrics.mAP", "metrics.NDS"]
    assert all(gate.expression.model is None for gate in gates[-2:])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name: x\ngates: [metrics.mAP == 1]", r"gates\[0\]\.gate: .*is not understood"),
        (
            "name: x\ngates: [metrics.mAp >= 1]",
            r"gates\[0\]\.gate: no build has the metric metrics\.mAp; near it: metrics",
        ),
        ("name: x\ngates: [metrics.recall.unicorn >= 1]", "no build has the metric metrics.recall.unicorn"),
        ("name: x\ngates: []\nsurprise: 1", "surprise: Extra inputs are not permitted"),
        ("name: x\ngates: [{gate: metrics.mAP > 0, require: true}]", r"gates\[0\]\.require: Extra inputs"),
        ("name: x\ngates: [{gate: metrics.mAP > 0, required: 'yes'}]", r"gates\[0\]\.required"),
        ("name: x\nextends: other\ngates: []", "extends: Input should be 'default'"),
        ("gates: []", "name: Field required"),
        ("[1, 2", "can't be read as a policy"),
        ("- x", "the file: Input should be"),
        ("!!python/object/apply:os.system ['true']", "can't be read as a policy"),
    ],
)
def test_defects_name_the_file_and_the_key(path: Path, content: str, words: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError, match=words) as raised:
        read_policy(path, CLASS_NAMES)
    assert str(path) in str(raised.value)


def test_all_defects_are_said_at_once(path: Path) -> None:
    path.write_text("name: x\ngates: [a.b >= 1, metrics.mAP >= 0, c.d >= 1]")
    with pytest.raises(ConfigError) as raised:
        read_policy(path, CLASS_NAMES)
    assert "gates[0].gate" in str(raised.value) and "gates[2].gate" in str(raised.value)


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy\.yaml"):
        read_policy(path, CLASS_NAMES)
