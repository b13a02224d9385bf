"""Which failures of a step's task are tried again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from prefect.client.schemas.objects import StateType
from prefect.states import State

from bevformer_lib.errors import (
    SceneError,
    SourceError,
    SourceUnreachableError,
    StoreError,
    StoreUnreachableError,
)
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.store.base import Store
from bevformer_lib.store.folder import FolderStore
from bevformer_lib.store.run import find_step, run_step
from bevformer_lib.store.s3_client import named_s3_errors
from bevformer_lib.store.step import Step
from tasks.executor import TaskExecutor
from tasks.progress import StoppedError, StopSignal
from tasks.step import step_task


class Writes:
    """Work that writes one file."""

    step = Step("export", 1, {})

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        (folder / "model.onnx").write_bytes(b"graph")
        return {}


class AwayStore(FolderStore):
    """A store that does not answer."""

    is_away = True

    def get_record(self, kind: str, key: str) -> dict[str, Any] | None:
        with named_s3_errors(self.uri):
            if self.is_away:
                raise EndpointConnectionError(endpoint_url="http://store")
        return super().get_record(kind, key)


def raised(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        work()
    return caught.value


def is_tried_again(store: Store, error: Exception) -> bool:
    task = step_task(store, Writes(), StopSignal())
    assert task.retries == 2
    assert task.retry_condition_fn is not None
    failed: State[Any] = State(type=StateType.FAILED, data=error)
    return bool(task.retry_condition_fn(task, None, failed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StoreUnreachableError("away"), True),
        (SourceUnreachableError("away"), True),
        (ConnectionResetError("reset"), True),
        (TimeoutError("late"), True),
        (StoreError("wrong key"), False),
        (SourceError("no such file"), False),
        (SceneError("defects"), False),
        (StoppedError(), False),
        (ValueError("a defect"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_may_pass_is_tried_again(tmp_path: Path, error: Exception, again: bool) -> None:
    assert is_tried_again(FolderStore(tmp_path), error) is again


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (503, "SlowDown", True),
        (500, "InternalError", True),
        (429, "429", True),
        (400, "RequestTimeout", True),
        (403, "InvalidAccessKeyId", False),
        (403, "SignatureDoesNotMatch", False),
        (404, "NoSuchBucket", False),
        (501, "NotImplemented", False),
        (507, "XMinioStorageFull", False),
    ],
)
def test_a_busy_store_is_tried_again_and_one_that_refuses_is_not(
    tmp_path: Path, status: int, code: str, again: bool
) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}

    def ask() -> None:
        with named_s3_errors("s3://night"):
            raise ClientError(answer, "PutObject")  # type: ignore[arg-type]

    assert is_tried_again(FolderStore(tmp_path), raised(ask)) is again


def test_a_step_is_not_done_anew_because_the_store_is_away_for_a_moment(tmp_path: Path) -> None:
    store, work = AwayStore(tmp_path), Writes()
    store.is_away = False
    done = run_step(store, work.step, lambda folder: work.produce(store, folder, lambda *_: None))
    store.is_away = True
    error = raised(lambda: run_step(store, work.step, lambda folder: pytest.fail("done anew")))
    assert is_tried_again(store, error)
    assert isinstance(raised(lambda: find_step(store, work.step)), StoreUnreachableError)
    store.is_away = False
    found = find_step(store, work.step)
    assert found is not None
    assert found.record == done.record


def test_the_task_and_not_its_flow_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a task has retries, so a look into the store before it must not fail."""
    asked: list[str] = []
    monkeypatch.setattr("tasks.executor.step_task", lambda store, work, stop: asked.append)
    TaskExecutor(AwayStore(tmp_path)).do(Writes())
    assert asked == [f"export/{Writes.step.key}"]
