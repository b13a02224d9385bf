"""Publishing builds, what changed between them, and their history."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bevformer_lib.cli.app import run
from bevformer_lib.errors import ConfigError, GateError, StoreError
from bevformer_lib.pipeline.diff import compare_builds
from bevformer_lib.pipeline.gates import find_baseline, read_verdict, require_gates
from bevformer_lib.pipeline.history import history
from bevformer_lib.pipeline.publish import named_build, publish_build
from bevformer_lib.store.aliases import alias_history, get_alias
from bevformer_lib.store.folder import FolderStore
from flows.chain import BuildResult
from flows.cli import commands
from tests.flows.conftest import make_request
from tests.flows.test_chain import build, done

TOO_MUCH = "name: strict\ngates:\n  - gate: fidelity.bev_embed.cosine >= 0.99999\n    cause: it is only 8 bits\n"


@pytest.fixture(scope="module")
def built(micro_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderStore, BuildResult]:
    store = FolderStore(tmp_path_factory.mktemp("built") / "store")
    return store, build(micro_inputs, store)


@pytest.fixture
def store(built: tuple[FolderStore, BuildResult], tmp_path: Path) -> FolderStore:
    return FolderStore(Path(shutil.copytree(built[0].root, tmp_path / "store")))


@pytest.fixture
def failed(store: FolderStore, micro_inputs: Path, tmp_path: Path) -> BuildResult:
    """The same build under a policy that it does not keep."""
    policy = tmp_path / "strict.yaml"
    policy.write_text(TOO_MUCH)
    return build(micro_inputs, store, policy=str(policy))


def test_only_the_verdict_and_the_report_depend_on_the_policy(failed: BuildResult) -> None:
    assert done(failed) == ["gates", "report"]


def test_a_failed_build_is_kept_and_not_published(store: FolderStore, failed: BuildResult) -> None:
    with pytest.raises(GateError) as raised:
        require_gates(store, failed.build, report="place/report.html")
    words = str(raised.value)
    for part in ("fidelity.bev_embed.cosine", "0.999", ">= 0.99999", "worst in scene scene-000", "it is only 8 bits"):
        assert part in words
    assert words.endswith("report: place/report.html")
    assert raised.value.build == failed.build.identity
    with pytest.raises(GateError, match=r"fidelity\.bev_embed\.cosine"):
        publish_build(store, failed.build)
    assert get_alias(store, "latest") is None
    assert "Not good enough to publish" in store.get_object(failed.build.outputs["report.html"].sha256).read_text()


def test_force_needs_a_reason_which_is_kept(store: FolderStore, failed: BuildResult) -> None:
    with pytest.raises(GateError, match="say why"):
        publish_build(store, failed.build, force=" ")
    publish_build(store, failed.build, force="for the fair")
    [entry] = alias_history(store, "latest")
    assert entry.target == failed.build.identity
    assert entry.note == "forced: for the fair (failed gates: fidelity.bev_embed.cosine)"
    assert [(event.what, event.detail) for event in history(store)] == [
        ("built", "passed default"),
        ("built", "failed fidelity.bev_embed.cosine"),
        ("published", entry.note),
    ]


def test_a_published_build_is_the_baseline_of_others_and_not_of_itself(
    built: tuple[FolderStore, BuildResult], store: FolderStore, micro_inputs: Path
) -> None:
    first = built[1].build
    publish_build(store, first)
    publish_build(store, first)
    assert len(alias_history(store, "latest")) == 1
    again = build(micro_inputs, store)
    assert again.build == first
    assert done(again) == []
    second = build(micro_inputs, store, num_samples=5)
    assert read_verdict(store, second.build).baseline == first.identity
    publish_build(store, second.build)
    assert done(build(micro_inputs, store, num_samples=5)) == []


def test_a_verdict_against_another_baseline_does_not_count(
    built: tuple[FolderStore, BuildResult], store: FolderStore, micro_inputs: Path
) -> None:
    first, second = built[1].build, build(micro_inputs, store, num_samples=5).build
    publish_build(store, first)
    with pytest.raises(GateError, match=f"judged against no published build, but {first.identity} is published now"):
        publish_build(store, second)
    judged = build(micro_inputs, store, num_samples=5).build
    assert judged.identity != second.identity
    publish_build(store, judged)
    with pytest.raises(GateError, match="go back"):
        publish_build(store, first)
    publish_build(store, first, force="the new one drifts")
    assert get_alias(store, "latest").target == first.identity


def test_builds_go_by_alias_and_first_digits(built: tuple[FolderStore, BuildResult], store: FolderStore) -> None:
    first = built[1].build
    assert named_build(store, first.identity[:8]) == first
    publish_build(store, first)
    assert named_build(store, "latest") == first
    for nothing in ("abc", "ffffffff", "other"):
        with pytest.raises(StoreError, match=f"{nothing} names no build"):
            named_build(store, nothing)


def test_what_changed(built: tuple[FolderStore, BuildResult], store: FolderStore, inputs: Path) -> None:
    first = built[1].build
    meta = inputs / "scenes" / "scene-0001" / "meta_000003.json"
    meta.write_text(meta.read_text().replace('"timestamp": ', '"timestamp": 1'))
    second = build(inputs, store, num_samples=5, score_threshold=0.001).build
    found = compare_builds(store, first, second)
    assert [change.name for change in found.inputs] == ["scene scene-0001"]
    parameters = {change.name: (change.before, change.after) for change in found.parameters}
    assert parameters["calibration.plan.num_samples"] == (4, 5)
    assert parameters["evaluate scene-0000.score_threshold"] == (None, 0.001)
    assert (found.packages, found.code) == ((), ())
    assert [change.name for change in found.candidates] == ["convert.model_int8.onnx"]
    assert "fidelity.bev_embed.cosine" in {change.name for change in found.totals}
    assert "encoder.layer0" in {change.name for change in found.per_tensor}
    nothing = compare_builds(store, first, first)
    assert not any(vars(nothing).values())


def test_commands(
    built: tuple[FolderStore, BuildResult], store: FolderStore, failed: BuildResult, capsys: pytest.CaptureFixture[str]
) -> None:
    first, place = built[1].build.identity, str(store.root)
    assert run(commands(), ["publish", first[:8], "--store", place]) == 0
    assert first in capsys.readouterr().out
    assert run(commands(), ["publish", failed.build.identity, "--store", place]) == 1
    assert "fidelity.bev_embed.cosine" in capsys.readouterr().err
    assert run(commands(), ["diff", "latest", failed.build.identity, "--store", place]) == 0
    assert "policy" in capsys.readouterr().out
    assert run(commands(), ["diff", "latest", first, "--store", place]) == 0
    assert "nothing changed" in capsys.readouterr().out
    assert run(commands(), ["log", "--store", place]) == 0
    assert "published" in capsys.readouterr().out
    assert run(commands(), ["diff", "latest", "nothing", "--store", place]) == 1
    assert "names no build" in capsys.readouterr().err


def test_a_policy_with_defects_is_said_before_any_work(micro_inputs: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("name: x\ngates: [metrics.recall.unicorn >= 1]")
    store = FolderStore(tmp_path / "new")
    with pytest.raises(ConfigError, match="unicorn"):
        build(micro_inputs, store, policy=str(policy))
    assert store.list_kinds() == ()


def test_nothing_is_published_yet(store: FolderStore, micro_inputs: Path) -> None:
    assert make_request(micro_inputs, store.root).publish is False
    assert find_baseline(store, []) is None
