"""`bevformer build`: the whole pipeline on one machine, with no server to start."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from bevformer_lib.cli.options import Count, Device, FirstScene, Fraction, Gigabytes, LastScene, Minutes, Seed

if TYPE_CHECKING:
    from bevformer_lib.progress import ProgressCallback
    from bevformer_lib.store.base import Store
    from flows.chain import BuildResult
    from flows.request import BuildRequest

_BUILDS: Final = "builds"
_LOGS: Final = "logs"
_SERVER: Final = "prefect"
_SEND_SECONDS: Final = 10.0
_LOGGED: Final = ("bevformer_lib", "tasks", "flows", "prefect")


def command(
    *,
    model: str,
    checkpoint: str,
    scenes: str,
    store: str,
    image_size: str | None = None,
    num_samples: Count = 32,
    seed: Seed = 0,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
    target: str = "AX650",
    spatial: str | None = None,
    cameras_per_query: Count | None = None,
    geometry: str | None = None,
    waive: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    converter: str = "emulator",
    recipe: str | None = None,
    npu_mode: str | None = None,
    overrides: Path | None = None,
    image: str | None = None,
    pulsar2: Path | None = None,
    time_limit_minutes: Minutes | None = None,
    memory_limit_gb: Gigabytes | None = None,
    runtime: str | None = None,
    device: Device = "cpu",
    score_thr: Fraction | None = None,
    policy: Path | None = None,
    drop_camera: str | None = None,
    publish: bool = False,
) -> None:
    """Build: export, calibrate, quantise, evaluate, judge, report. Only what changed since the last build is done.

    Args:
        model: preset name (tiny, small, base), or an original config file.
        checkpoint: the .pth file with the weights: a path, hf://owner/repo[@revision]/path, or `demo` (shipped).
        scenes: folder of scenes: a path, or hf://owner/repo[@revision]/path.
        store: keeps every artifact: a folder (made if missing), or s3://bucket/prefix.
        image_size: padded image size HxW in pixels, instead of the config's own.
        num_samples: frames in the calibration set.
        seed: another seed chooses other calibration frames.
        start_scene: first scene to use, counted from 0.
        end_scene: scene to stop before.
        target: chip that the graph is made for: AX650, AX620E, AX615, AX637, M57 or M76H.
        spatial: how BEV cells sample the cameras, slots or dense; without it, slots where they are fewer than the
            cameras.
        cameras_per_query: room per cell of the slots; without it, what so many cameras around a car need.
        geometry: who computes where cells lie in the cameras and in the history, graph or host
            [default: host].
        waive: a finding of the check for the chip to let pass: RULE everywhere, or RULE:NODE; may be given several
            times.
        converter: onnxruntime, pulsar2, or emulator, which works out what pulsar2 would make.
        recipe: pulsar2, emulator: vendor-tiny, int8, w8a16, all-u16 or mixed [default: mixed].
        npu_mode: pulsar2: cores to compile for, NPU1 to NPU4.
        overrides: pulsar2, emulator: YAML file with build config settings of your own.
        image: pulsar2: docker image.
        pulsar2: pulsar2: native command instead of docker.
        time_limit_minutes: pulsar2: stop the conversion after this time.
        memory_limit_gb: pulsar2: most memory of the conversion.
        runtime: what executes the quantised model: onnxruntime, pulsar2 (its simulator) or axengine.
        device: where float models run: cpu, cuda or cuda:N.
        score_thr: boxes at or below this score are dropped; without it the config's own threshold holds, if any.
        policy: YAML file with the gates that the build must pass; without it those that come along.
        drop_camera: measure NDS and mAP without this camera too, whose images are black then: its name, or all for
            each in turn, which takes as many evaluations more.
        publish: publish the build if it passes them.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.pipeline.builds import lay_out
    from bevformer_lib.pipeline.gates import read_verdict, require_gates
    from bevformer_lib.pipeline.publish import publish_build
    from bevformer_lib.pipeline.report import REPORT
    from bevformer_lib.store.open import open_store
    from flows.build_tables import detection_table, steps_table

    started = time.monotonic()
    request = _request(
        model=model,
        checkpoint=checkpoint,
        scenes=scenes,
        store=store,
        image_size=image_size,
        num_samples=num_samples,
        seed=seed,
        start_scene=start_scene,
        end_scene=end_scene,
        target=target,
        spatial=spatial,
        cameras_per_query=cameras_per_query,
        geometry=geometry,
        waive=waive,
        converter=converter,
        pulsar2={
            "recipe": recipe,
            "npu_mode": npu_mode,
            "overrides": None if overrides is None else str(overrides),
            "image": image,
            "executable": None if pulsar2 is None else str(pulsar2),
            "time_limit_minutes": time_limit_minutes,
            "memory_limit_gb": memory_limit_gb,
        },
        runtime=runtime,
        device=device,
        score_threshold=score_thr,
        policy=None if policy is None else str(policy),
        drop_camera=drop_camera,
        publish=publish,
    )
    opened = open_store(store)
    place = _local_place(opened)
    opened.remove_abandoned_scratch()
    with progress_bar() as on_progress:
        result = _finished_build(request, opened, on_progress) or _run_flow(request, place, on_progress)
    folder = lay_out(opened, result.build, place / _BUILDS)
    console = Console(markup=False, highlight=False)
    console.print(steps_table(result))
    console.print(detection_table(opened, result.build))
    ran = sum(step.ran for step in result.steps)
    done = f"{ran} of {len(result.steps)} steps done" if ran else "nothing to do: nothing changed"
    console.print(f"{done}, {time.monotonic() - started:.1f} s", soft_wrap=True)
    console.print(f"gates:  {read_verdict(opened, result.build).counts}", soft_wrap=True)
    console.print(f"files:  {folder}", soft_wrap=True)
    require_gates(opened, result.build, report=str(folder / REPORT))
    console.print(f"report: {folder / REPORT}", soft_wrap=True)
    if publish:
        console.print(f"latest: {publish_build(opened, result.build).target}", soft_wrap=True)


def _request(**fields: Any) -> BuildRequest:
    from pydantic import ValidationError

    from bevformer_lib.errors import ConfigError
    from flows.request import BuildRequest

    try:
        return BuildRequest.model_validate(fields)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"build: {wrong}; see `bevformer build --help`") from error


def _local_place(store: Store) -> Path:
    """Return the folder for logs, Prefect's database and named files: a folder store's own, or one of the cache's."""
    from bevformer_lib.store.folder import FolderStore
    from bevformer_lib.store.open import cache_folder

    if isinstance(store, FolderStore):
        return store.root
    return cache_folder() / "stores" / re.sub(r"[^\w.-]+", "_", store.uri)


def _finished_build(request: BuildRequest, store: Store, on_progress: ProgressCallback) -> BuildResult | None:
    """Return the build if all its steps are in the store; that takes no Prefect."""
    from bevformer_lib.pipeline.executors import FindingExecutor, NotDoneError
    from bevformer_lib.pipeline.runs import record_found
    from flows.chain import run_chain
    from flows.inputs import read_inputs

    inputs = read_inputs(request, store.digests, on_progress)
    try:
        result = run_chain(request, inputs, store, FindingExecutor(store))
    except NotDoneError:
        return None
    record_found(store, result.build.identity, result.steps)
    return result


def _run_flow(request: BuildRequest, place: Path, on_progress: ProgressCallback) -> BuildResult:
    """Run the flow in this process, with the user's Prefect server or else one of its own."""
    from bevformer_lib.doctor.prefect_settings import API_URL, prefect_settings
    from flows.local_server import QUIET, LocalServer

    log = place / _LOGS / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(QUIET)
    if os.environ.get(API_URL) or prefect_settings(os.environ, folder=Path.cwd(), user_home=Path.home()).get(API_URL):
        return _call_flow(request, log, on_progress)
    server = LocalServer(place / _SERVER, log)
    try:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            del os.environ[name]  # meant for another server
        os.environ.update(server.environment)
        server.wait_until_ready()
        return _call_flow(request, log, on_progress)
    finally:
        _send_what_is_left()
        server.stop()


def _send_what_is_left() -> None:
    """Have Prefect send its last events and log lines now: once its server is gone it would wait for it at exit."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (EventsWorker, APILogWorker):
        service.drain_all(timeout=_SEND_SECONDS)


def _call_flow(request: BuildRequest, log: Path, on_progress: ProgressCallback) -> BuildResult:
    # Prefect's own log handlers write to the console; a local build's log goes to a file, and its progress is shown.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    from flows.build import FailedBuildError, build
    from tasks.progress import console_progress

    handler = logging.FileHandler(log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in _LOGGED:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        with console_progress(on_progress):
            return build(request)
    except FailedBuildError as error:
        return error.result  # shown like any other first
    finally:
        for name in _LOGGED:
            logging.getLogger(name).removeHandler(handler)
        handler.close()
