"""The store on S3, against a real server of its protocol."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from bevformer_lib.doctor.finding import Status
from bevformer_lib.doctor.services import check_store
from bevformer_lib.errors import DamagedRecordError, StoreError, StoreUnreachableError
from bevformer_lib.files import sha256_of_file
from bevformer_lib.store.cache import ObjectCache
from bevformer_lib.store.open import open_store
from bevformer_lib.store.run import find_step, run_step
from bevformer_lib.store.s3 import S3Store
from bevformer_lib.store.s3_client import S3Credentials
from bevformer_lib.store.step import Step
from tests.store.conftest import OpenS3
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.s3_server import S3Server, running_s3_server

MIB = 1 << 20
PART = 5 * MIB


def put(store: S3Store, content: bytes) -> str:
    with store.scratch() as folder:
        path = folder / "file"
        path.write_bytes(content)
        return store.put_object(path).sha256


def client_of(store: S3Store) -> Any:
    return store._client


def overwrite(store: S3Store, sha256: str, content: bytes, **options: Any) -> None:
    client_of(store).put_object(Bucket=store.bucket, Key=f"{store.prefix}/objects/{sha256}", Body=content, **options)


def test_large_objects_travel_in_parts(open_s3: OpenS3) -> None:
    content = os.urandom(12 * MIB + 12345)
    store = open_s3(part_bytes=PART)
    parts: list[int] = []
    client_of(store).meta.events.register(
        "before-call.s3.UploadPart", lambda params, **_: parts.append(int(params["query_string"]["partNumber"]))
    )
    digest = put(store, content)
    assert sorted(parts) == [1, 2, 3]
    assert open_s3("elsewhere").get_object(digest).read_bytes() == content
    assert open_s3("elsewhere").cache.size() == len(content)


def test_an_object_that_is_there_is_not_uploaded_again(open_s3: OpenS3) -> None:
    put(open_s3(), b"content")
    other = open_s3("elsewhere")
    client_of(other).meta.events.register("before-call.s3.PutObject", lambda **_: pytest.fail("uploaded again"))
    put(other, b"content")


@pytest.mark.parametrize("size", [1000, PART + 1000])
def test_content_altered_on_the_way_is_refused_by_the_server(open_s3: OpenS3, size: int) -> None:
    store = open_s3(part_bytes=PART)

    def alter(request: Any, **_: Any) -> None:
        content = request.body if isinstance(request.body, bytes) else request.body.read()
        request.body = b"?" + content[1:]

    for operation in ("PutObject", "UploadPart"):
        client_of(store).meta.events.register(f"before-send.s3.{operation}", alter)
    with pytest.raises(StoreError, match="what arrived is not what was sent"):
        put(store, bytes(size))
    assert list(store.list_objects()) == []
    assert store.remove_abandoned_uploads(-10) == 0, "its parts were dropped at once"


def test_a_killed_upload_leaves_nothing_visible(open_s3: OpenS3, s3_server: S3Server, tmp_path: Path) -> None:
    store = open_s3()
    path = tmp_path / "big.bin"
    path.write_bytes(os.urandom(4 * PART))
    program = f"""
import time
from pathlib import Path
from bevformer_lib.store.cache import ObjectCache
from bevformer_lib.store.s3 import S3Store
cache = ObjectCache(Path({str(tmp_path / "killed")!r}), 10**9)
store = S3Store({store.bucket!r}, {store.prefix!r}, cache, part_bytes={PART})
def hang(params, **_):
    number = int(params["query_string"]["partNumber"])
    if number > 2:
        if number == 3:
            print("sending", flush=True)
        time.sleep(60)
store._client.meta.events.register("before-call.s3.UploadPart", hang)
store.put_object(Path({str(path)!r}))
"""
    environment = os.environ | s3_server.environment()
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"sending\n"
        process.send_signal(signal.SIGKILL)

    digest = sha256_of_file(path)
    assert digest not in [entry.sha256 for entry in store.list_objects()]
    assert list(store.list_objects()) == []
    assert store.remove_abandoned_uploads(3600) == 0, "too young to be abandoned"
    assert store.remove_abandoned_uploads(-10) == 1
    assert store.put_object(path).sha256 == digest


def test_an_object_broken_in_the_bucket_is_noticed_and_healed(open_s3: OpenS3) -> None:
    step = Step("pack", 1, {})

    def work(folder: Path) -> dict[str, Any]:
        (folder / "out").write_text("content")
        return {}

    digest = run_step(open_s3("a"), step, work).record.output("out").sha256
    overwrite(open_s3("a"), digest, b"CONTENT", Metadata={"sha256": digest})

    reader = open_s3("b")
    assert find_step(reader, step) is not None, "size and recorded digest are as they should be"
    with pytest.raises(StoreError, match=f"{digest}: the object is corrupted .its content has sha256"):
        reader.get_object(digest)
    result = run_step(open_s3("b"), step, work)
    assert result.ran
    assert "found to differ from its digest" in result.reason
    assert open_s3("c").get_object(digest).read_text() == "content"
    assert find_step(open_s3("b"), step) is not None


def test_something_else_in_an_objects_place_is_noticed_without_reading_it(open_s3: OpenS3) -> None:
    store = open_s3()
    digest = put(store, b"content")
    overwrite(store, digest, b"con")
    with pytest.raises(StoreError, match="it has 3 bytes instead of 7"):
        store.check_object(digest, 7)
    overwrite(store, digest, b"another")
    with pytest.raises(StoreError, match="something else was written in its place"):
        store.check_object(digest, 7)
    assert put(store, b"content") == digest
    store.check_object(digest, 7, read=True)


def test_a_corrupted_cache_is_read_anew(open_s3: OpenS3) -> None:
    store = open_s3()
    digest = put(store, b"content")
    path = store.get_object(digest)
    path.chmod(0o644)
    path.write_bytes(b"rotten!")
    assert store.get_object(digest).read_bytes() == b"content"


def test_a_file_changed_while_it_is_taken_over(
    open_s3: OpenS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_s3()
    path = tmp_path / "file"
    path.write_bytes(b"content")
    monkeypatch.setattr("bevformer_lib.store.s3.sha256_of_file", lambda path: "0" * 64)
    with pytest.raises(StoreError, match="changed while it was taken over"):
        store.put_object(path)
    assert list(store.list_objects()) == []


def test_a_retried_write_knows_its_own_record(open_s3: OpenS3) -> None:
    store = open_s3()
    answers: list[int] = []

    def ask_again(attempts: int, **_: Any) -> int | None:
        """Treat the first answer as lost on the way: the client waits 0 s and sends the request once more."""
        answers.append(attempts)
        return 0 if len(answers) == 1 else None

    client_of(store).meta.events.register_first("needs-retry.s3.PutObject", ask_again)
    assert store.put_record("export", "k", {"value": 1})
    assert answers[:2] == [1, 2]
    assert not store.put_record("export", "k", {"value": 1})


def test_old_things_that_are_used_again_become_young(open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_s3()
    digest = put(store, b"content")
    store.put_record("export", "k", {"value": 1})
    before = store.record_times("export")["k"], next(iter(store.list_objects())).modified_at
    time.sleep(1.1)
    store.refresh_record("export", "k")
    assert store.record_times("export")["k"] == before[0], "young things are left alone"
    monkeypatch.setattr("bevformer_lib.store.s3.REFRESH_AGE_S", -10.0)
    store.refresh_record("export", "k")
    put(store, b"content")
    after = store.record_times("export")["k"], next(iter(store.list_objects())).modified_at
    assert after[0] > before[0]
    assert after[1] > before[1]
    assert store.get_record("export", "k") == {"value": 1}
    store.check_object(digest, 7, read=True)


def test_a_server_that_lets_all_writers_win_is_told(open_s3: OpenS3, tmp_path: Path) -> None:
    open_s3().check_conditional_writes()
    with running_s3_server(tmp_path / "racy", racy=True) as server:
        bucket = server.make_bucket("racy")
        store = S3Store(bucket, "", ObjectCache(tmp_path / "cache", MIB), server.credentials)
        with pytest.raises(StoreError, match="of 8 writers of the same key were told that they won"):
            store.check_conditional_writes()


def test_doctor_tries_whether_one_of_several_writers_wins(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path / "cache"))
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    bucket = s3_server.make_bucket("doctor")
    finding = check_store(f"s3://{bucket}/night")
    assert finding.status is Status.OK, finding
    left = S3Store(bucket, "", ObjectCache(tmp_path / "other", MIB), s3_server.credentials)
    assert client_of(left).list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    with running_s3_server(tmp_path / "racy", racy=True) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        finding = check_store(f"s3://{server.make_bucket('racy')}/night")
    assert finding.status is Status.FAIL
    assert "writers of the same key were told that they won" in finding.found


@pytest.mark.parametrize("faults", [1, 3])
def test_an_answer_that_breaks_off_is_carried_on_with(open_s3: OpenS3, s3_server: S3Server, faults: int) -> None:
    store = open_s3()
    content = {"text": "x" * 5000}
    store.put_record("export", "k", content)
    digest = put(store, os.urandom(3 * MIB))
    with faulty_proxy(s3_server.endpoint_url) as proxy:
        behind = through(store, proxy)
        proxy.faults = faults
        assert behind.get_record("export", "k") == content
        proxy.faults = faults
        behind.check_object(digest, 3 * MIB, read=True)
        assert proxy.spoilt == 2 * faults


def test_a_record_that_arrives_changed_is_asked_for_again(open_s3: OpenS3, s3_server: S3Server) -> None:
    store = open_s3()
    store.put_record("export", "k", {"sha256": "a" * 64})
    with faulty_proxy(s3_server.endpoint_url) as proxy:
        behind = through(store, proxy)
        proxy.spoil = lambda body: body.replace(b"a" * 64, b"b" + b"a" * 63)
        proxy.faults = 1
        assert behind.get_record("export", "k") == {"sha256": "a" * 64}
        assert proxy.spoilt == 1


@pytest.mark.parametrize("position", range(0, 400, 23))
def test_every_changed_byte_of_a_record_is_found(open_s3: OpenS3, position: int) -> None:
    store = open_s3()
    store.put_record("export", "k", {"sha256": "a" * 64, "size": 7, "facts": ["one", "two"]})
    key = f"{store.prefix}/records/export/k.json"
    raw = bytearray(client_of(store).get_object(Bucket=store.bucket, Key=key)["Body"].read())
    raw[position % len(raw)] ^= 0x01
    client_of(store).put_object(Bucket=store.bucket, Key=key, Body=bytes(raw))
    try:
        assert store.get_record("export", "k") == {"sha256": "a" * 64, "size": 7, "facts": ["one", "two"]}
    except DamagedRecordError as error:
        assert "build again" in str(error)


def test_a_listing_that_arrives_changed_is_one_error(open_s3: OpenS3, s3_server: S3Server) -> None:
    store = open_s3()
    store.put_record("export", "k", {"value": 1})
    with faulty_proxy(s3_server.endpoint_url) as proxy:
        behind = through(store, proxy)
        proxy.spoil = lambda body: body.replace(b"LastModified>2", b"LastModified>x")
        proxy.faults = 100
        with pytest.raises(StoreUnreachableError, match="the server's answer can't be read"):
            behind.list_records("export")


def through(store: S3Store, proxy: FaultyProxy) -> S3Store:
    """Return the same store, reached through a proxy."""
    credentials = replace(store_credentials(store), endpoint_url=proxy.url)
    return S3Store(store.bucket, store.prefix, store.cache, credentials)


def store_credentials(store: S3Store) -> S3Credentials:
    found = client_of(store)._request_signer._credentials.get_frozen_credentials()
    return S3Credentials(found.access_key, found.secret_key, region=client_of(store).meta.region_name)


def test_opened_by_address(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BEVFORMER_CACHE", str(tmp_path / "cache"))
    bucket = s3_server.make_bucket("by-address")
    store = open_store(f"s3://{bucket}/nightly/")
    assert store.uri == f"s3://{bucket}/nightly"
    assert store.put_record("export", "k", {})
    assert open_store(f"s3://{bucket}/nightly").list_records("export") == ("k",)
    assert open_store(f"s3://{bucket}").list_kinds() == ()


class TestFailures:
    """Each is one message that names the URI and says what to do, and none shows a credential."""

    PLANTED = "Planted/Secret+5f1d"

    def fail(self, tmp_path: Path, bucket: str, credentials: S3Credentials, *, may_pass: bool = False) -> str:
        with pytest.raises(StoreError) as raised:
            S3Store(bucket, "p", ObjectCache(tmp_path / "cache", MIB), credentials)
        message = str(raised.value)
        assert message.startswith(f"s3://{bucket}/p: ")
        assert raised.value.__cause__ is None
        assert isinstance(raised.value, StoreUnreachableError) is may_pass
        return message

    def test_missing_bucket(self, s3_server: S3Server, tmp_path: Path) -> None:
        assert "the bucket does not exist; create it" in self.fail(tmp_path, "absent", s3_server.credentials)

    def test_wrong_secret(self, s3_server: S3Server, tmp_path: Path) -> None:
        wrong = S3Credentials("test:tester", self.PLANTED, region="us-east-1", endpoint_url=s3_server.endpoint_url)
        assert "refuses the secret key; correct the credentials" in self.fail(tmp_path, "absent", wrong)

    def test_unknown_key(self, s3_server: S3Server, tmp_path: Path) -> None:
        wrong = S3Credentials("test:nobody", self.PLANTED, region="us-east-1", endpoint_url=s3_server.endpoint_url)
        assert "correct the credentials" in self.fail(tmp_path, "absent", wrong)

    def test_unreachable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bevformer_lib.store.s3_client._ATTEMPTS", 1)
        nowhere = S3Credentials("a", self.PLANTED, region="us-east-1", endpoint_url="http://127.0.0.1:9")
        message = self.fail(tmp_path, "bucket", nowhere, may_pass=True)
        assert "http://127.0.0.1:9 can't be reached (EndpointConnectionError)" in message

    def test_no_credentials(self, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in s3_server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        assert "no credentials found; give AWS_ACCESS_KEY_ID" in self.fail(tmp_path, "bucket", S3Credentials())

    def test_an_unknown_profile(self, tmp_path: Path) -> None:
        assert "S3 settings can't be used" in self.fail(tmp_path, "bucket", S3Credentials(profile="absent"))

    def test_credentials_in_addresses_are_refused_and_not_repeated(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError) as raised:
            open_store(f"s3://key:{self.PLANTED}@bucket/prefix")
        assert self.PLANTED not in str(raised.value)
        endpoint = S3Credentials(endpoint_url=f"http://key:{self.PLANTED}@127.0.0.1:9")
        assert "holds credentials" in self.fail(tmp_path, "bucket", endpoint)
        assert self.PLANTED not in self.fail(tmp_path, "bucket", endpoint)

    def test_no_secret_in_logs_and_texts(
        self, open_s3: OpenS3, s3_server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        secret = str(s3_server.credentials.secret_access_key)
        store = open_s3()
        put(store, b"content")
        texts = [repr(store), repr(s3_server.credentials), store.uri]
        wrong = S3Credentials("test:tester", self.PLANTED, region="us-east-1", endpoint_url=s3_server.endpoint_url)
        texts.append(self.fail(tmp_path, store.bucket, wrong))
        with pytest.raises(StoreError) as raised:
            store.get_object("0" * 64)
        texts.append(str(raised.value))
        written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        for planted in (secret, self.PLANTED):
            assert planted not in caplog.text
            assert not [text for text in texts if planted in text]
            assert not [content for content in written if planted.encode() in content]
        assert "PutObject" in caplog.text, "the client's own log was looked at"


def test_what_is_old_is_told_by_the_servers_clock(open_s3: OpenS3) -> None:
    store = open_s3()
    put(store, b"content")
    modified = datetime.fromtimestamp(next(iter(store.list_objects())).modified_at, timezone.utc)
    assert abs(datetime.now(timezone.utc) - modified) < timedelta(minutes=1)
