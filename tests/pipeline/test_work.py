"""A step is what the fields of its work declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.pipeline.inputs import SceneSource
from bevformer_lib.pipeline.serialization import deserialize, serialize
from bevformer_lib.pipeline.work import NOT_IN_KEY, PART, Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact
from tests.pipeline.test_serialization import WORK

GRAPH, OTHER = Artifact("model.onnx", "a" * 64, 1), Artifact("own.yaml", "b" * 64, 2)
SCENES = tuple(SceneSource(Artifact(f"scene-{number}", f"{number:064d}", 1), 10 + number) for number in range(3))


@dataclass(frozen=True)
class Settings:
    recipe: str
    overrides: Artifact | None = None
    time_limit: float | None = field(default=None, metadata=NOT_IN_KEY)


@dataclass(frozen=True)
class ToyWork(Work, step="toy", pool="gpu", packages=("numpy",)):
    scene: SceneSource = field(metadata=PART)
    others: tuple[SceneSource, ...]
    graph: Artifact
    found: Mapping[str, Mapping[str, Artifact]]
    threshold: float | None
    device: str = field(metadata=NOT_IN_KEY)
    settings: Settings = Settings("plain")
    bound: str | None = field(default=None, metadata=PART)

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        return {}


def toy(**changes: Any) -> ToyWork:
    made = ToyWork(SCENES[0], SCENES[1:], GRAPH, {"scene-1": {"state.npy": OTHER}}, None, "cpu")
    return dataclasses.replace(made, **changes)


def test_artifacts_and_scenes_are_inputs_and_the_rest_parameters() -> None:
    step = toy().step
    assert step.inputs == {
        "scene": SCENES[0].content,
        "scene scene-1": SCENES[1].content,
        "scene scene-2": SCENES[2].content,
        "graph": GRAPH,
        "scene-1/state.npy": OTHER,
    }
    assert step.parameters == {"threshold": None}
    assert "numpy" in step.packages
    assert (step.name, step.part) == ("toy", "scene-0")
    assert toy().num_frames == 10


def test_two_inputs_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two inputs of a step are named graph"):
        _ = toy(found={"graph": OTHER}).step


def test_a_bound_is_another_part() -> None:
    assert toy(bound="optimistic").step.title == "toy scene-0, optimistic"


@pytest.mark.parametrize("changed", [{"device": "cuda"}, {"settings": Settings("plain", time_limit=5.0)}])
def test_where_and_how_long_is_not_in_the_key(changed: dict[str, Any]) -> None:
    assert toy(**changed).step == toy().step


@pytest.mark.parametrize(
    "changed",
    [
        {"threshold": 0.5},
        {"scene": SCENES[1]},
        {"others": ()},
        {"others": SCENES[1:2]},
        {"graph": OTHER},
        {"found": {"scene-1": {"state.npy": GRAPH}}},
        {"found": {}},
        {"settings": Settings("other")},
        {"settings": Settings("plain", overrides=OTHER)},
        {"bound": "optimistic"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_everything_else_is(changed: dict[str, Any]) -> None:
    assert toy(**changed).step.key != toy().step.key


def test_what_is_inside_a_field_keeps_its_name() -> None:
    step = toy(settings=Settings("other", overrides=OTHER, time_limit=5.0)).step
    assert step.inputs["settings/overrides"] == OTHER
    assert step.parameters["settings"] == {"recipe": "other"}


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.step.title)
def test_what_is_only_a_place_makes_no_other_step(work: Work) -> None:
    moved = dataclasses.replace(work, device="cuda:7") if hasattr(work, "device") else work
    assert moved.step == work.step
    assert deserialize(serialize(moved)).work == moved
