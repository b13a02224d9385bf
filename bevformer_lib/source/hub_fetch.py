"""Downloading from the hub into the cache that all its clients on this machine share.

huggingface_hub itself starts a download that was killed from zero, compares only sizes, and takes the name of a file in
its cache from the server's headers. The form of its cache is documented: a file's content lies at ``blobs/<digest>``,
and ``snapshots/<commit>/<path>`` links to it. So that is what is made here: by a download that goes on where the last
one ended, under names that :class:`~bevformer_lib.source.resolved.ResolvedSource` has checked.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import PARTIAL_CONTENT
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import SourceError
from bevformer_lib.files import atomic_path
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.source.address import HubAddress
from bevformer_lib.source.hub import note_fetched
from bevformer_lib.source.hub_access import OFFLINE_ADVICE, HubAccess, named_hub_errors
from bevformer_lib.source.hub_cache import note_revision, repository_folder
from bevformer_lib.source.resolved import ResolvedSource, SourceFile
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.full_disk import named_full_disk

_FILES_AT_ONCE: Final = 8
_LABEL: Final = "fetching bytes"
_CHUNK_BYTES: Final = 1 << 20
_SHA256_DIGITS: Final = 64
_ATTEMPTS: Final = 2
"""One for what is left of a broken download, which may itself be broken, and one from zero."""
_FRUITLESS_TRIES: Final = 5
_PAUSE_SECONDS: Final = 1.0


def fetch_hub(
    source: ResolvedSource, access: HubAccess, digests: DigestCache, on_progress: ProgressCallback = no_progress
) -> Path:
    """Download what is not in the cache yet, compare all with its digests, and return the file or folder.

    Raises:
        SourceError: the hub can't be reached (what has arrived is kept, and the next call goes on from there), its
            content is not what it says it is, or, offline, something is missing.
        StoreError: no space left.
    """
    fetcher = _Fetcher(source, access, digests, on_progress)
    with ThreadPoolExecutor(min(_FILES_AT_ONCE, len(source.files))) as pool:
        futures = [pool.submit(fetcher.fetch, file) for file in source.files]
        try:
            for future in futures:
                future.result()
        except BaseException:
            fetcher.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    note_fetched(source)
    note_revision(source, access)
    return fetcher.snapshot / source.place


class _Fetcher:
    """Fetches the files of one source; counts bytes over all of them."""

    def __init__(
        self, source: ResolvedSource, access: HubAccess, digests: DigestCache, on_progress: ProgressCallback
    ) -> None:
        self.source = source
        self.access = access
        self.digests = digests
        self.stopped = threading.Event()
        self.address = HubAddress(str(source.repo), str(source.commit), source.place)
        folder = repository_folder(self.address.repo, access)
        self.blobs = folder / "blobs"
        self.locks = access.cache_folder / ".locks" / folder.name
        self.snapshot = folder / "snapshots" / self.address.revision
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._done = 0

    def fetch(self, file: SourceFile) -> None:
        """Make sure that a file lies in the snapshot with the content that it should have."""
        name = self._name(file)
        link = self.snapshot / name
        if link.is_file() and _is_content(link, file, self.digests):
            self._count(file.size)
            return
        if self.access.is_offline:
            raise SourceError(f"{self._uri(file)}: {OFFLINE_ADVICE}")
        with named_hub_errors(self.address, self.access), named_full_disk(self.blobs):
            self._make_blob(file)
            with atomic_path(link) as temporary:  # in place of what is broken
                temporary.symlink_to(os.path.relpath(self.blobs / str(file.blob), link.parent))

    def _make_blob(self, file: SourceFile) -> None:
        """Download a file's content to its place in the cache, unless it is there."""
        from filelock import FileLock

        blob = self.blobs / str(file.blob)
        partial = blob.with_name(f"{blob.name}.incomplete")
        for folder in (self.blobs, self.locks):
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.locks / f"{blob.name}.lock"):
            if blob.is_file() and _is_content(blob, file, self.digests):
                self._count(file.size)
                return
            for _ in range(_ATTEMPTS):
                self._download(file, partial)
                if _is_content(partial, file, None):
                    partial.replace(blob)
                    return
                partial.unlink()
                self._count(-file.size)
        raise SourceError(
            f"{self._uri(file)}: what {self.access.endpoint_url} sends does not have the digest {file.blob} that it "
            "names; nothing was kept; try another mirror (HF_ENDPOINT), or tell the repository's owner"
        )

    def _download(self, file: SourceFile, partial: Path) -> None:
        """Go on with a download where the last one ended, which may have been in another process."""
        from httpx2 import TransportError

        partial.touch()
        if partial.stat().st_size > file.size:
            partial.unlink()
            partial.touch()
        self._count(partial.stat().st_size)
        failures = 0
        while (arrived := partial.stat().st_size) < file.size:
            try:
                self._receive(file, partial, arrived)
            except TransportError:
                failures = 0 if partial.stat().st_size > arrived else failures + 1
                if failures == _FRUITLESS_TRIES:
                    raise
                self.stopped.wait(_PAUSE_SECONDS)

    def _receive(self, file: SourceFile, partial: Path, arrived: int) -> None:
        """Append what the hub sends from a position on.

        Raises:
            SourceError: that is more, or less, than the file's rest.
        """
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
        from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = hf_hub_url(
            self.address.repo, self._name(file), revision=self.address.revision, endpoint=self.access.endpoint_url
        )
        headers = {
            **build_hf_headers(token=self.access.token, library_name="bevformer-axera"),
            "Accept-Encoding": "identity",
            **({"Range": f"bytes={arrived}-"} if arrived else {}),
        }
        with (
            get_session().stream("GET", url, headers=headers, timeout=HF_HUB_DOWNLOAD_TIMEOUT) as response,
            partial.open("r+b", buffering=0) as target,
        ):
            hf_raise_for_status(response)
            if response.status_code != PARTIAL_CONTENT:  # not every server continues
                target.truncate(0)
                self._count(-arrived)
                arrived = 0
            target.seek(arrived)
            for chunk in response.iter_raw(_CHUNK_BYTES):
                arrived += len(chunk)
                if arrived > file.size:
                    break
                target.write(chunk)
                self._count_or_stop(len(chunk))
        if arrived != file.size:
            self._count(-partial.stat().st_size)
            partial.unlink()
            raise SourceError(
                f"{self._uri(file)}: {self.access.endpoint_url} sends another size than {file.size} bytes; try "
                "again, or another mirror (HF_ENDPOINT)"
            )

    def _count_or_stop(self, num_bytes: int) -> None:
        if self.stopped.is_set():
            raise SourceError(f"{self.address.uri}: stopped")
        self._count(num_bytes)

    def _count(self, num_bytes: int) -> None:
        with self._lock:
            self._done += num_bytes
            self._on_progress(_LABEL, self._done, self.source.num_bytes)

    def _name(self, file: SourceFile) -> str:
        """Return a file's path within the repository."""
        if not self.source.is_folder:
            return self.source.place
        return f"{self.source.place}/{file.path}".lstrip("/")

    def _uri(self, file: SourceFile) -> str:
        return HubAddress(self.address.repo, self.address.revision, self._name(file)).uri


def _is_content(path: Path, file: SourceFile, digests: DigestCache | None) -> bool:
    """Return whether a file has the content that the hub knows by its blob's name.

    Args:
        path: the file.
        file: what it should be.
        digests: answers for files that were not touched since they were read; ``None`` reads the file.
    """
    blob = str(file.blob)
    if path.stat().st_size != file.size:
        return False
    if len(blob) == _SHA256_DIGITS:
        return (digests.digest(path) if digests is not None else _sha(path, hashlib.sha256())) == blob
    # The hub keeps small files in git, under the digest that git gives their content.
    return _sha(path, hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)) == blob


def _sha(path: Path, digest: Any) -> str:
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return str(digest.hexdigest())
