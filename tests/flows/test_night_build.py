"""The night build as users run it: a real Prefect server, workers of three pools, S3, and a stand-in of the hub."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.config.load import load_model_config
from bevformer_lib.model.checkpoint import make_checkpoint
from bevformer_lib.pipeline.runs import Run, find_run
from bevformer_lib.store.base import Store
from bevformer_lib.store.open import open_store
from tests.flows.conftest import MICRO
from tests.standins.hub.server import StandInHub, running_hub
from tests.standins.install import install_standin
from tests.support.chromium import CHROMIUM, open_chromium
from tests.support.postgres import dump, running_postgres
from tests.support.prefect_site import ROOT, Site, running_site, wait_for
from tests.support.s3_server import S3Server, running_s3_server
from tests.support.scenes import write_scenes
from tests.support.webhook import running_webhook

pytestmark = pytest.mark.slow

TOKEN = "hf_PlantedNightToken7c21"
SECRET_KEY = "PlantedNightSecret/Key+93ae"
REPO = "night/car"
POOLS = ("cpu", "gpu", "edge")
SCENES = 3
PICK_UP_SECONDS = 15
SILENCE_SECONDS = 40
"""Half of what the automation waits; heartbeats come every 30 s."""


@dataclass
class Night:
    """Everything that a night needs, running.

    Attributes:
        database: address of the server's PostgreSQL.
        told: what the notifications said, oldest first.
    """

    site: Site
    database: str
    hub: StandInHub
    store: Store
    files: dict[str, bytes]
    told: list[dict[str, str]]

    def parameters(self, *, pick_up_seconds: float = 120.0, **changes: Any) -> dict[str, Any]:
        request = {
            "model": str(MICRO),
            "checkpoint": f"hf://{REPO}/checkpoint.pth",
            "scenes": f"hf://{REPO}/inference_data",
            "store": self.store.uri,
            "num_samples": 6,
            "converter": "onnxruntime",  # the bounds of an emulation take child runs of their own
            **changes,
        }
        settings = {"hub_token_block": "hub-token", "s3_block": "night-s3", "pick_up_seconds": pick_up_seconds}
        return {"request": request, "settings": settings}

    def start(self, deployment: str = "nightly/nightly", **changes: Any) -> str:
        return self.site.run(deployment, self.parameters(**changes))

    def what(self, run: str) -> Run:
        """What `bevformer explain` reads."""
        return find_run(self.store, run)

    def child(self, run: str, name: str, *states: str) -> dict[str, Any]:
        """Wait for a child run of this name in one of these states."""

        def look() -> dict[str, Any] | None:
            found = [one for one in self.site.children(run) if one["name"].startswith(name)]
            return next((one for one in reversed(found) if one["state_type"] in states), None)

        return dict(wait_for(look, f"{name} {' or '.join(states)}", 180.0))


def ran(run: Run) -> list[str]:
    return [step.title for step in run.steps if step.ran]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3_server(tmp_path_factory.mktemp("s3"), SECRET_KEY) as server:
        yield server


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, s3: S3Server) -> Iterator[Night]:
    made = tmp_path_factory.mktemp("made")
    make_checkpoint(load_model_config(str(MICRO)), made / "checkpoint.pth")
    write_scenes(made / "inference_data", num_scenes=SCENES, frames_per_scene=6)
    files = {path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*") if path.is_file()}
    address = f"s3://{s3.make_bucket('night')}/bevformer"
    store = open_store(address, credentials=s3.credentials, cache=tmp_path_factory.mktemp("cache"))
    folder = tmp_path_factory.mktemp("site")
    with running_hub() as hub:
        hub.commit(REPO, files, token=TOKEN)
        environment = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "PATH": f"{install_standin('docker', folder.with_name('docker')).parent}:{os.environ['PATH']}",
            "STANDIN_DOCKER_STATE": str(folder.with_name("docker-state")),
            "STANDIN_PULSAR2_FAIL": "hang",
        }
        with (
            tempfile.TemporaryDirectory(prefix="pg") as place,
            running_postgres(Path(place)) as database,
            running_site(folder, environment, database=database) as site,
            running_webhook() as webhook,
        ):
            set_up(site, s3, address, webhook.url)
            yield Night(site, database, hub, store, files, webhook.received)


def set_up(site: Site, s3: S3Server, store: str, webhook: str) -> None:
    """What docs/nightly.md tells a user to do."""
    secrets = {
        "token": TOKEN,
        "secret": SECRET_KEY,
        "key": s3.credentials.access_key_id,
        "endpoint_url": s3.endpoint_url,
        "webhook": webhook,
    }
    subprocess.run(
        [sys.executable, "-m", "tests.support.blocks"],
        cwd=ROOT,
        env=site.environment,
        input=json.dumps(secrets),
        text=True,
        check=True,
        capture_output=True,
    )
    template = json.loads((ROOT / "infra" / "pools" / "process.json").read_text())
    for pool in POOLS:
        site.call("work_pools/", {"name": pool, "type": "process", "base_job_template": template})
    site.call("work_pools/edge", {"concurrency_limit": 1}, method="PATCH")
    inputs = {
        "BEVFORMER_MODEL": str(MICRO),
        "BEVFORMER_CHECKPOINT": f"hf://{REPO}/checkpoint.pth",
        "BEVFORMER_SCENES": f"hf://{REPO}/inference_data",
        "BEVFORMER_STORE": store,
        "BEVFORMER_CONVERTER": "onnxruntime",
        "BEVFORMER_RUNTIME": "onnxruntime",
        "BEVFORMER_HUB_TOKEN_BLOCK": "hub-token",
        "BEVFORMER_S3_BLOCK": "night-s3",
    }
    [alarm] = [one for one in site.every("block_documents") if one["name"] == "alarm"]
    for name, seen, here in (
        ("notify", "BLOCK_DOCUMENT_ID", alarm["id"]),
        ("gate", "BLOCK_DOCUMENT_ID", alarm["id"]),
        ("crashed", "within: 90", f"within: {SILENCE_SECONDS}"),
    ):
        automation = (ROOT / "deployments" / "automations" / f"{name}.yaml").read_text()
        assert seen in automation
        (site.folder / f"{name}.yaml").write_text(automation.replace(seen, str(here)))
    register(site, inputs)
    site.start_worker("cpu", "server", limit=3)
    site.start_worker("gpu", "gpu-1")
    site.start_worker("gpu", "gpu-2")
    site.start_worker("edge", "board")
    wait_for(lambda: len(site.online("gpu")) == 2 and site.online("cpu") and site.online("edge"), "workers", 120.0)


def register(site: Site, inputs: dict[str, str]) -> str:
    """Register deployments and automations as docs/nightly.md says."""
    automations = [str(site.folder / f"{name}.yaml") for name in ("notify", "gate", "crashed")]
    done = subprocess.run(
        [sys.executable, "deployments/register.py", "--automations", *automations],
        cwd=ROOT,
        env={**site.environment, **inputs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_registering_again_keeps_what_an_operator_did(night: Night) -> None:
    site = night.site
    before = site.call("deployments/name/nightly/nightly")
    [schedule] = before["schedules"]
    [automation] = [one for one in site.every("automations") if one["name"] == "bevformer-notify"]
    path = f"deployments/{before['id']}/schedules/{schedule['id']}"
    site.call(path, {"active": False}, method="PATCH")
    site.call(f"automations/{automation['id']}", {"enabled": False}, method="PATCH")
    fewer = {**before["parameters"], "request": {**before["parameters"]["request"], "num_samples": 5}}
    site.call(f"deployments/{before['id']}", {"parameters": fewer}, method="PATCH")
    printed = register(site, {})
    assert "automation bevformer-notify: updated" in printed
    assert "Warning" not in printed and "not found" not in printed, printed
    after = site.call("deployments/name/nightly/nightly")
    assert [one["active"] for one in after["schedules"]] == [False]
    assert after["parameters"] == fewer
    assert after["parameters"]["settings"] == {"hub_token_block": "hub-token", "s3_block": "night-s3"}
    names = [one["name"] for one in site.every("automations")]
    assert len(names) == len(set(names)) == 5  # that of the trigger of on-new-input is one
    assert not site.call(f"automations/{automation['id']}")["enabled"]
    site.call(f"deployments/{before['id']}", {"parameters": before["parameters"]}, method="PATCH")
    site.call(path, {"active": True}, method="PATCH")
    site.call(f"automations/{automation['id']}", {"enabled": True}, method="PATCH")


def test_what_a_worker_could_not_do_is_refused_in_the_form(night: Night) -> None:
    asked = night.parameters()
    request = asked["request"]
    for parameters, complaint in (
        ({**asked, "sotre": "s3://night/bevformer"}, "'sotre' was unexpected"),
        ({**asked, "request": {**request, "sotre": "x"}}, "'sotre' was unexpected"),
        ({**asked, "request": {**request, "store": "mystore"}}, "'mystore' does not match"),
        ({**asked, "request": {**request, "store": "s3://key:secret@night/x"}}, "does not match"),
    ):
        with pytest.raises(AssertionError, match=complaint):
            night.site.run("nightly/nightly", parameters)


def test_a_first_night_from_the_command_line(night: Night) -> None:
    site = night.site
    parameters = [f"--param={name}={json.dumps(value)}" for name, value in night.parameters().items()]
    printed = site.prefect("deployment", "run", "nightly/nightly", "--watch", *parameters)
    assert "Completed" in printed
    [run] = [one for one in site.call("flow_runs/filter", {"limit": 200}) if one["name"] == f"nightly {MICRO.stem}"]
    assert run["state_type"] == "COMPLETED"

    found = night.what(run["id"])
    assert found.outcome == "finished"
    assert ran(found) == [step.title for step in found.steps]
    assert {"export", "convert", "evaluate scene-0002", "report"} <= set(ran(found))

    children = site.children(run["id"])
    assert all(child["state_type"] == "COMPLETED" for child in children)
    pools = {child["name"].split()[0]: child["work_pool_name"] for child in children}
    assert pools["export"] == pools["calibration-prev-bev"] == "gpu"
    assert pools["convert"] == "cpu"
    assert pools["evaluate"] == "edge"
    extracts = [child for child in children if child["name"].startswith("calibration-prev-bev")]
    assert len(extracts) == SCENES  # a share each, since two workers could take four each
    workers = {
        (site.folder / f"worker-gpu-{number}.log").read_text().count("calibration-prev-bev") > 0 for number in (1, 2)
    }
    assert workers == {True}  # both took some

    keys = {one["key"] for one in site.call("artifacts/filter", {"limit": 200}) if one["flow_run_id"] == run["id"]}
    assert {"steps", "report", "report-file", "image-1", "lineage"} <= keys
    logged = site.call("logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "limit": 200})
    assert any(line["name"].startswith("bevformer_lib") for line in logged)


def test_another_night_with_nothing_new_starts_no_work_anywhere(night: Night) -> None:
    run = night.site.ended(night.start())
    assert run["state_type"] == "COMPLETED"
    assert run["total_run_time"] < 30.0
    assert night.site.children(run["id"]) == []
    found = night.what(run["id"])
    assert ran(found) == []
    assert all(step.reason.startswith("unchanged since") for step in found.steps)


def test_a_gate_that_fails_is_an_event_with_value_and_scene(night: Night, tmp_path: Path) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("name: strict\ngates: [fidelity.bev_embed.cosine >= 0.9999999, metrics.mAP >= 0]")
    run = night.site.ended(night.start("build/build", policy=str(policy)))
    assert run["state_type"] == "FAILED"
    [told] = wait_for(lambda: [one for one in night.told if "cosine failed" in one["subject"]], "the message", 60.0)
    assert told["subject"] == "fidelity.bev_embed.cosine failed"
    assert "fidelity.bev_embed.cosine is 0.99" in told["body"] and "worst in scene scene-000" in told["body"]
    asked = {
        "event": {"name": ["bevformer.gate.failed"]},
        "resource": {"id": ["bevformer.gate.fidelity.bev_embed.cosine"]},
    }
    [failed] = wait_for(lambda: night.site.call("events/filter", {"filter": asked})["events"], "the event", 60.0)
    assert failed["payload"]["value"] < failed["payload"]["bound"] == 0.9999999
    assert failed["resource"]["bevformer.scene"].startswith("scene-000")
    assert f"prefect.flow-run.{run['id']}" in [one["prefect.resource.id"] for one in failed["related"]]


def test_the_clock_starts_a_night(night: Night) -> None:
    site = night.site
    deployment = site.call("deployments/name/nightly/nightly")
    [schedule] = deployment["schedules"]
    assert schedule["active"] and schedule["schedule"]["cron"] == "30 2 * * *"
    path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
    soon = {"cron": "* * * * *", "timezone": schedule["schedule"]["timezone"]}
    request = night.parameters()["request"]  # the names of the blocks are the deployment's own
    site.call(path, {"schedule": soon, "parameters": {"request": request}}, method="PATCH")
    asked = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment["id"]]},
            "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}},
            "tags": {"all_": ["auto-scheduled"]},
        }
    }
    [run, *_] = wait_for(lambda: site.call("flow_runs/filter", asked), "a night by the clock", 150.0)
    site.call(path, {"active": False}, method="PATCH")
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["auto_scheduled"]
    assert ran(night.what(run["id"])) == []
    assert night.site.children(run["id"]) == []


def test_only_what_depends_on_a_changed_scene_is_built_again_even_if_the_server_restarts(night: Night) -> None:
    scene = "inference_data/scene-0001/"
    meta = json.loads(night.files[f"{scene}meta_000005.json"])
    meta["gt_boxes"] = []
    night.hub.commit(REPO, night.files | {f"{scene}meta_000005.json": json.dumps(meta).encode()}, token=TOKEN)
    started = night.start("build/build")
    night.child(started, "evaluate", "RUNNING")
    night.site.kill_server()  # the work goes on meanwhile
    night.site.start_server()
    run = night.site.ended(started)
    assert run["state_type"] == "COMPLETED", run["state"]
    found = night.what(run["id"])
    assert {"check-scenes", "evaluate scene-0001", "report"} <= set(ran(found))
    assert {"export", "evaluate scene-0000", "evaluate scene-0002"}.isdisjoint(ran(found))
    assert "calibration-prev-bev scene-0000" not in ran(found)
    [reason] = [step.reason for step in found.steps if step.title == "evaluate scene-0001"]
    assert "input scene changed" in reason


def test_a_night_survives_a_killed_process_and_a_dead_board(night: Night) -> None:
    site = night.site
    run = night.start(seed=1, score_threshold=0.05, pick_up_seconds=PICK_UP_SECONDS)
    extract = night.child(run, "calibration-prev-bev", "RUNNING")
    for process in site.processes(extract["id"]):
        os.kill(process, signal.SIGKILL)

    evaluate = night.child(run, "evaluate", "RUNNING")
    before = {
        f"evaluate/scene-{number:04d}": night.store.list_records(f"evaluate/scene-{number:04d}")
        for number in range(SCENES)
    }

    def first_done() -> list[str]:
        return [kind for kind, keys in before.items() if night.store.list_records(kind) != keys]

    [done, *_] = wait_for(first_done, "the first scene", 120.0, 0.05)
    lost = site.processes(evaluate["id"])
    site.kill_worker("board")  # the power goes
    for process in lost:
        os.kill(process, signal.SIGKILL)
    [key] = set(night.store.list_records(done)) - set(before[done])
    kept = night.store.get_record(done, key)

    wait_for(lambda: site.state(evaluate["id"]) == "CRASHED", "the board's death to be noticed", 150.0)
    site.start_worker("edge", "board")  # the next board
    ended = site.ended(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert night.store.get_record(done, key) == kept
    again = [child for child in site.children(run) if child["name"].startswith("evaluate")]
    assert [child["state_type"] for child in again] == ["CRASHED", "COMPLETED"]
    assert len(again[1]["parameters"]["work"]) < SCENES
    extracts = [child["state_type"] for child in site.children(run) if child["id"] == extract["id"]]
    assert extracts == ["CRASHED"]


def test_a_machine_that_falls_silent_has_crashed(night: Night) -> None:
    site = night.site
    run = night.start(seed=4)
    extract = night.child(run, "calibration-prev-bev", "RUNNING")
    frozen = site.processes(extract["id"])
    heartbeat = {"event": {"name": ["prefect.flow-run.heartbeat"]}}
    heartbeat["resource"] = {"id": [f"prefect.flow-run.{extract['id']}"]}
    try:
        # The first heartbeat is sent at once, over a connection that is made first; it can be looked up seconds later.
        time.sleep(1.0)
        for process in frozen:
            os.kill(process, signal.SIGSTOP)  # as a machine that hangs, while its worker still answers
        wait_for(lambda: site.call("events/filter", {"filter": heartbeat})["events"], "a heartbeat", 30.0)
        assert site.state(extract["id"]) == "RUNNING"
        wait_for(lambda: site.state(extract["id"]) == "CRASHED", "the silence to be noticed", 150.0)
        assert "No heartbeat" in site.call(f"flow_runs/{extract['id']}")["state"]["message"]

        def again() -> list[str]:
            same = [child for child in site.children(run) if child["parameters"] == extract["parameters"]]
            return [child["state_type"] for child in same]

        wait_for(lambda: again() == ["CRASHED", "COMPLETED"], "the same on the other machine", 120.0)
    finally:
        for process in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    site.call(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert site.ended(run)["state_type"] == "CANCELLED"


def test_a_cancelled_night_ends_its_children(night: Night) -> None:
    site = night.site
    run = night.start(seed=2)
    extract = night.child(run, "calibration-prev-bev", "PENDING", "RUNNING")
    site.call(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert site.ended(run, 90.0)["state_type"] == "CANCELLED"
    assert site.ended(extract["id"], 90.0)["state_type"] == "CANCELLED"
    wait_for(
        lambda: all(child["state_type"] in ("CANCELLED", "COMPLETED") for child in site.children(run)), "the end", 90
    )
    wait_for(lambda: not site.processes(), "the end of all processes", 60.0)


def containers(night: Night) -> list[int]:
    """Processes of the stand-ins of docker and Pulsar2."""
    state = f"STANDIN_DOCKER_STATE={night.site.environment['STANDIN_DOCKER_STATE']}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                standin = b"tests.standins.pulsar2" in (process / "cmdline").read_bytes()
                if standin and state in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
    return found


def test_a_cancelled_night_ends_the_converters_container(night: Night) -> None:
    site = night.site
    run = night.start(converter="pulsar2", pulsar2={"recipe": "int8"})
    convert = night.child(run, "convert", "RUNNING")
    wait_for(lambda: containers(night), "the container", 120.0)
    site.call(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert site.ended(run, 90.0)["state_type"] == "CANCELLED"
    assert site.ended(convert["id"], 90.0)["state_type"] == "CANCELLED"
    wait_for(lambda: not containers(night), "the end of the container", 60.0)


def test_children_of_a_killed_night_do_no_work(night: Night) -> None:
    site = night.site
    for name in ("gpu-1", "gpu-2"):
        site.kill_worker(name)
    run = night.start(seed=3)
    waiting = night.child(run, "calibration-prev-bev", "SCHEDULED")
    for process in site.processes(run):
        os.kill(process, signal.SIGKILL)
    wait_for(lambda: site.state(run) == "CRASHED", "the crash of the night", 60.0)
    site.start_worker("gpu", "gpu-1")
    ended = site.ended(waiting["id"], 120.0)
    assert ended["state_type"] == "CANCELLED"
    assert "is crashed" in ended["state"]["message"]


def test_without_a_worker_a_night_fails_in_time_and_says_what_to_start(night: Night) -> None:
    site = night.site
    site.kill_worker("board")
    wait_for(lambda: not site.online("edge"), "the board to count as offline", 60.0)
    run = site.ended(night.start(score_threshold=0.07, pick_up_seconds=5.0), 120.0)
    assert run["state_type"] == "FAILED"
    assert "no worker polls it; start one: prefect worker start --pool edge" in run["state"]["message"]
    [told] = wait_for(lambda: [one for one in night.told if run["id"] in one["body"]], "the notification", 60.0)
    assert told["subject"] == f"{run['name']} Failed"
    assert "prefect worker start --pool edge" in told["body"]
    assert f"bevformer explain {run['id']}" in told["body"]
    wait_for(lambda: site.children(run["id"])[-1]["state_type"] == "CANCELLED", "the end of the child", 30.0)

    site.call("work_pools/edge", {"is_paused": True}, method="PATCH")
    run = site.ended(night.start(score_threshold=0.07), 120.0)
    assert "prefect work-pool resume edge" in run["state"]["message"]
    site.call("work_pools/edge", {"is_paused": False}, method="PATCH")


def test_a_new_input_announced_as_an_asset_starts_a_build(night: Night) -> None:
    site = night.site
    announced = {
        "occurred": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "event": "prefect.asset.materialization.succeeded",
        "resource": {"prefect.resource.id": "bevformer://inputs/checkpoint"},
        "payload": {},
        "id": "0b6c7e1e-5b0c-4d0e-9b53-2f6a3c1d9e55",
    }
    deployment = site.call("deployments/name/build/on-new-input")
    parameters = deployment["parameters"] | {"request": night.parameters()["request"]}
    site.call(f"deployments/{deployment['id']}", {"parameters": parameters}, method="PATCH")
    site.call("events", [announced], method="POST")  # type: ignore[arg-type]
    asked = {"flow_runs": {"deployment_id": {"any_": [deployment["id"]]}}}
    [run] = wait_for(lambda: site.call("flow_runs/filter", asked), "the start of a build", 60.0)
    ended = site.ended(run["id"], 120.0)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert ran(night.what(run["id"])) == []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install --no-install-recommends chromium")
def test_people_see_it_in_the_ui(night: Night, tmp_path: Path) -> None:
    site = night.site
    [run, *_] = [
        one
        for one in site.call("flow_runs/filter", {"limit": 200, "sort": "EXPECTED_START_TIME_ASC"})
        if one["name"].startswith("nightly") and one["state_type"] == "COMPLETED"
    ]
    report = next(one for one in site.call("artifacts/filter", {"limit": 200}) if one["key"] == "report")
    image = next(one for one in site.call("artifacts/filter", {"limit": 200}) if one["key"] == "image-1")
    form = site.call("deployments/name/build/build")["id"]
    expected = {
        f"deployments/deployment/{form}/run": (
            "Checkpoint",
            "Num Samples",
            "Converter",
            "Frames in the calibration set.",
        ),
        f"runs/flow-run/{run['id']}": ("Completed", "Subflow Runs", "Artifacts"),
        f"artifacts/artifact/{report['id']}": ("scenes", "worst cosine", "bev_embed"),
        f"artifacts/artifact/{image['id']}": ("image-1",),
    }
    shots = Path(os.environ.get("BEVFORMER_SHOTS", tmp_path))
    with open_chromium(tmp_path / "profile") as page:
        for number, (path, texts) in enumerate(expected.items()):
            page.visit(f"{site.api.removesuffix('/api')}/{path}", width=1400, scheme="dark", height=1200)
            wait_for(
                lambda wanted=texts: all(text in page.evaluate("document.body.innerText") for text in wanted),  # type: ignore[misc]
                f"{texts} on {path}",
                60.0,
            )
            time.sleep(3)  # the graph is drawn after its data came
            page.screenshot(shots / f"ui-{number}.png")
        shown = (
            "[...document.images].some(image => image.src.startsWith('data:image/jpeg') && image.naturalWidth > 300)"
        )
        assert page.evaluate(shown)


def test_no_secret_is_written_anywhere(night: Night, s3: S3Server) -> None:
    site = night.site
    wait_for(lambda: not site.processes(), "the end of all runs", 120.0)
    shutil.copytree(site.folder, copied := site.folder.with_name("looked-through"))
    planted = (TOKEN.encode(), SECRET_KEY.encode(), SECRET_KEY.replace("/", "%2F").encode())
    for path in copied.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in planted), path
    held = dump(night.database)
    assert "prefect.flow-run.heartbeat" in held
    said = held + json.dumps(
        [site.every(what) for what in ("flow_runs", "task_runs", "artifacts", "logs", "deployments")]
    )
    assert TOKEN not in said
    assert SECRET_KEY not in said
    kept = [
        night.store.get_record(kind, key) for kind in night.store.list_kinds() for key in night.store.list_records(kind)
    ]
    assert TOKEN not in json.dumps(kept)
    assert SECRET_KEY not in json.dumps(kept)
    assert "database is locked" not in (site.folder / "server.log").read_text()
