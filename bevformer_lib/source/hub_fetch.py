"""Downloading from the hub into the cache that all its clients on this machine share.

huggingface_hub itself starts a download that was killed from zero, and compares only sizes. Its cache is made so that
this can be done for it: a file's content lies at ``blobs/<etag>``, and what lies there is not downloaded again. So the
content is put there by a download that goes on where the last one ended, after it was compared with the digest that is
its name; then huggingface_hub makes the snapshot's link to it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import SourceError
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.source.address import HubAddress
from bevformer_lib.source.hub import note_fetched
from bevformer_lib.source.hub_access import OFFLINE_ADVICE, HubAccess, named_hub_errors
from bevformer_lib.source.resolved import ResolvedSource, SourceFile
from bevformer_lib.store.digests import DigestCache
from bevformer_lib.store.full_disk import named_full_disk

_FILES_AT_ONCE: Final = 8
_LABEL: Final = "fetching bytes"
_CHUNK_BYTES: Final = 1 << 20
_SHA256_DIGITS: Final = 64
_ATTEMPTS: Final = 2
"""One for what is left of a broken download, which may itself be broken, and one from zero."""


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
    return fetcher.snapshot / source.place


class _Fetcher:
    """Fetches the files of one source; counts bytes over all of them."""

    def __init__(
        self, source: ResolvedSource, access: HubAccess, digests: DigestCache, on_progress: ProgressCallback
    ) -> None:
        from huggingface_hub.file_download import repo_folder_name

        self.source = source
        self.access = access
        self.digests = digests
        self.stopped = threading.Event()
        self.address = HubAddress(str(source.repo), str(source.commit), source.place)
        folder = repo_folder_name(repo_id=self.address.repo, repo_type="model")
        self.blobs = access.cache_folder / folder / "blobs"
        self.locks = access.cache_folder / ".locks" / folder
        self.snapshot = access.cache_folder / folder / "snapshots" / self.address.revision
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
            link.unlink(missing_ok=True)  # what is broken: huggingface_hub would leave it as it is
            self._make_blob(file)
            self._make_link(name, file)

    def _make_blob(self, file: SourceFile) -> None:
        """Download a file's content to its place in the cache, unless it is there."""
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        blob = self.blobs / str(file.blob)
        partial = blob.with_name(f"{blob.name}.incomplete")
        for folder in (self.blobs, self.locks):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(self.locks / f"{blob.name}.lock"):
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
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        partial.touch()
        if partial.stat().st_size > file.size:
            partial.unlink()
            partial.touch()
        resumed = partial.stat().st_size
        self._count(resumed)
        if resumed == file.size:
            return
        url = hf_hub_url(
            self.address.repo, self._name(file), revision=self.address.revision, endpoint=self.access.endpoint_url
        )
        headers = build_hf_headers(token=self.access.token, library_name="bevformer-axera")
        with partial.open("r+b", buffering=0) as target:
            target.seek(resumed)
            try:
                http_get(
                    url,
                    target,
                    resume_size=resumed,
                    headers={**headers, "Accept-Encoding": "identity"},
                    expected_size=file.size,
                    displayed_filename=file.path,
                    tqdm_class=_counter(self._count_or_stop),
                )
            except OSError as error:
                if type(error) is not OSError or error.errno is not None:
                    raise
                raise SourceError(
                    f"{self._uri(file)}: {self.access.endpoint_url} sends another size than {file.size} bytes; try "
                    "again, or another mirror (HF_ENDPOINT)"
                ) from None

    def _make_link(self, name: str, file: SourceFile) -> None:
        """Let huggingface_hub link the content into the snapshot; it asks the hub once more which content that is."""
        from huggingface_hub import hf_hub_download

        path = Path(
            hf_hub_download(
                self.address.repo,
                name,
                revision=self.address.revision,
                endpoint=self.access.endpoint_url,
                token=self.access.token,
                cache_dir=self.access.cache_folder,
            )
        )
        if not _is_content(path, file, self.digests):
            raise SourceError(
                f"{self._uri(file)}: {self.access.endpoint_url} lists the file with digest {file.blob}, but serves it "
                "with another; try another mirror (HF_ENDPOINT)"
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


def _counter(count: Callable[[int], None]) -> Any:
    """Return what :func:`http_get` takes for a progress bar; it shows nothing and tells of every chunk."""
    from tqdm import tqdm

    class Counter(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            count(int(n or 0))

    return Counter
