"""What orchestration costs: the same build without Prefect and with it, and many child runs on one server.

python -m benchmarks.orchestration flow                # the chain of steps alone, and as the flow in process
python -m benchmarks.orchestration shards --count 500  # child runs on a real server; --sqlite for its database
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUNS = 3
SCENES, FRAMES = 4, 8
_TAKERS = 4


def flow() -> None:
    """Build the micro model from nothing, in turn without Prefect and as the flow with its own server."""
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.model.checkpoint import make_checkpoint
    from bevformer_lib.pipeline.executors import DirectExecutor
    from bevformer_lib.store.open import open_store
    from flows.chain import run_chain
    from flows.inputs import read_inputs
    from flows.local_server import LocalServer
    from flows.request import BuildRequest
    from tests.support.scenes import write_scenes

    model = Path(__file__).parents[1] / "tests" / "support" / "micro_original.py"
    folder = Path(tempfile.mkdtemp(prefix="orchestration-"))
    make_checkpoint(load_model_config(str(model)), folder / "checkpoint.pth")
    write_scenes(folder / "scenes", num_scenes=SCENES, frames_per_scene=FRAMES)
    places = {"checkpoint": str(folder / "checkpoint.pth"), "scenes": str(folder / "scenes")}
    server = LocalServer(folder / "prefect", folder / "log")
    os.environ.update(server.environment | {"PREFECT_LOGGING_LEVEL": "ERROR"})
    try:
        server.wait_until_ready()
        from flows.build import build

        def direct(request: BuildRequest) -> None:
            store = open_store(request.store)
            run_chain(request, read_inputs(request, store.digests), store, DirectExecutor(store))

        figures: dict[str, list[float]] = {"without Prefect": [], "as a flow": []}
        for number in range(RUNS + 1):  # the first of each warms up
            for name, run in (("without Prefect", direct), ("as a flow", build)):
                request = BuildRequest(
                    model=str(model), store=str(folder / f"{number}-{name}"), num_samples=8, **places
                )
                started = time.perf_counter()
                run(request)
                figures[name] += [time.perf_counter() - started] if number else []
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    for name, seconds in figures.items():
        print(f"{name}: {', '.join(f'{one:.1f}' for one in seconds)} s; median {statistics.median(seconds):.1f} s")
    ratios = [flow / plain for plain, flow in zip(figures["without Prefect"], figures["as a flow"], strict=True)]
    print(f"flow over plain: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


def shards(count: int, *, sqlite: bool) -> None:
    """Ask a server for many child runs at once, and run them in a few processes with Prefect's own engine.

    A process per run would measure the start of Python. Here a process takes run after run, so that the server gets the
    same requests in a fraction of the time: its worst case.
    """
    from tests.support.prefect_site import running_site, wait_for

    folder = Path(tempfile.mkdtemp(prefix="orchestration-"))
    environment = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PREFECT_LOGGING_LEVEL": "WARNING"}
    with _database(sqlite) as database, running_site(folder / "site", environment, database=database) as site:
        site.call("work_pools/", {"name": "gpu", "type": "process"})
        code = "from benchmarks.orchestration_runs import ask, take; "
        started = time.perf_counter()
        takers = [site.python(f"{code}take()") for _ in range(_TAKERS)]
        asker = site.python(f"{code}ask({count})")
        assert asker.wait() == 0, "the parent failed"
        seconds = time.perf_counter() - started
        for taker in takers:
            taker.kill()
            taker.wait()
        states = wait_for(
            lambda: site.call("flow_runs/count", {"deployments": {"name": {"any_": ["shard"]}}}), "the count", 30.0
        )
        done = {"deployments": {"name": {"any_": ["shard"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        completed = site.call("flow_runs/count", done)
        locked = (folder / "site" / "server.log").read_text().count("database is locked")
        kind = "SQLite" if sqlite else "PostgreSQL"
        print(f"{kind}: {states} child runs asked for, {completed} completed, {seconds:.0f} s")
        print(f"{completed / seconds:.1f} runs/s; 'database is locked' in the server's log: {locked}")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(sqlite: bool) -> Iterator[str | None]:
    if sqlite:
        yield None
        return
    from tests.support.postgres import running_postgres

    with tempfile.TemporaryDirectory(prefix="pg") as place, running_postgres(Path(place)) as address:
        yield address


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["flow", "shards"])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--sqlite", action="store_true")
    asked = parser.parse_args()
    if asked.what == "flow":
        flow()
    else:
        shards(asked.count, sqlite=asked.sqlite)


if __name__ == "__main__":
    main()
