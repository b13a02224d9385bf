"""Which checks a machine's role needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bevformer_lib.doctor.devices import check_axengine, check_gpu, check_onnxruntime
from bevformer_lib.doctor.finding import Finding
from bevformer_lib.doctor.machine import check_disk, check_memory, check_packages, check_python
from bevformer_lib.doctor.services import (
    DATABASE_VARIABLES,
    PrefectApi,
    check_database,
    check_hub,
    check_prefect_server,
    check_store,
    check_work_pool,
)
from bevformer_lib.doctor.tools import check_docker, check_pulsar2


class Role(str, Enum):
    """What a machine is there for."""

    LAPTOP = "laptop"
    CPU = "cpu"
    GPU = "gpu"
    EDGE = "edge"
    SERVER = "server"


@dataclass(frozen=True)
class Surroundings:
    """What a machine is told about the others.

    Attributes:
        pool: work pool of this machine's worker; ``None``: the role's name.
        hub_endpoint: ``HF_ENDPOINT``; ``None``: the public hub.
        hub_offline: whether ``HF_HUB_OFFLINE`` is set.
        database: connection URL of a server's database.
        folder: where large files go.
        npu: which NPU of this machine is used; ``None``: AXEngine's first choice.
    """

    prefect: PrefectApi
    pool: str | None
    store: str | None
    hub_endpoint: str | None
    hub_offline: bool
    database: str | None
    folder: Path
    npu: str | None = None

    @classmethod
    def of_environment(
        cls,
        environment: Mapping[str, str],
        *,
        folder: Path,
        pool: str | None,
        store: str | None,
        npu: str | None = None,
    ) -> Surroundings:
        """Return what the environment variables say."""
        prefect = PrefectApi(
            environment.get("PREFECT_API_URL") or None,
            environment.get("PREFECT_API_AUTH_STRING") or None,
            environment.get("PREFECT_API_KEY") or None,
        )
        return cls(
            prefect=prefect,
            pool=pool,
            store=store,
            hub_endpoint=environment.get("HF_ENDPOINT") or None,
            hub_offline=environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"),
            database=next(filter(None, map(environment.get, DATABASE_VARIABLES)), None),
            folder=folder,
            npu=npu or environment.get("BEVFORMER_NPU") or None,
        )


@dataclass(frozen=True)
class Needs:
    """What a role asks of its machine; sizes in GB as (fail below, warn below)."""

    extras: tuple[str, ...]
    memory_gb: tuple[float, float]
    disk_gb: tuple[float, float]


NEEDS: Final[Mapping[Role, Needs]] = MappingProxyType(
    {
        Role.LAPTOP: Needs(("cpu",), (4, 12), (5, 20)),
        Role.CPU: Needs(("cpu",), (4, 12), (10, 50)),
        Role.GPU: Needs(("gpu",), (8, 16), (10, 50)),
        Role.EDGE: Needs(("edge",), (0.5, 2), (1, 4)),
        Role.SERVER: Needs((), (1, 2), (1, 5)),
    }
)
"""Exporting the largest published model takes up to 12 GB; a board holds one compiled model and one frame."""


def checks_of(role: Role, around: Surroundings) -> Iterator[Callable[[], Finding]]:
    """Yield a role's checks; each runs when it is called."""
    needs = NEEDS[role]
    yield check_python
    yield lambda: check_packages(needs.extras)
    yield lambda: check_memory(*needs.memory_gb)
    yield lambda: check_disk(around.folder, *needs.disk_gb)
    if role in (Role.LAPTOP, Role.CPU):
        yield lambda: check_onnxruntime(cuda=False)
    if role is Role.GPU:
        yield check_gpu
        yield lambda: check_onnxruntime(cuda=True)
    if role is Role.EDGE:
        yield lambda: check_axengine(around.npu)
    if role is Role.CPU:
        yield check_docker
        yield check_pulsar2
    yield lambda: check_prefect_server(around.prefect, required=role is not Role.LAPTOP)
    if role is Role.SERVER:
        yield lambda: check_database(around.database)
        if around.store is not None:
            yield lambda: check_store(around.store)
        return
    if role is Role.LAPTOP:
        if around.store is not None:
            yield lambda: check_store(around.store)
        yield lambda: check_hub(around.hub_endpoint, offline=around.hub_offline, required=False)
        return
    yield lambda: check_work_pool(around.prefect, around.pool or role.value)
    yield lambda: check_store(around.store)
    yield lambda: check_hub(around.hub_endpoint, offline=around.hub_offline, required=True)
