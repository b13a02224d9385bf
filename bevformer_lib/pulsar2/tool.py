"""Where `pulsar2` is: a native command, or inside the vendor's docker image."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.errors import ImageMissingError, ToolMissingError
from bevformer_lib.pulsar2.orphaned_containers import SUFFIX, stop_orphaned
from bevformer_lib.pulsar2.process import Completed, Invocation, Limits, run_child

PINNED_IMAGE: Final = "pulsar2:4.2"
"""The image used when none is named: the version with which the vendor's figures were published."""
IMAGE_VARIABLE: Final = "BEVFORMER_PULSAR2_IMAGE"
EXECUTABLE_VARIABLE: Final = "BEVFORMER_PULSAR2"
COMMAND: Final = "pulsar2"
VERSION_SECONDS: Final = 120.0
_TAG: Final = re.compile(r":(\d+\.\d[^:@/]*)$")
_IMAGE_MISSING: Final = ("no such image", "image not known")  # docker, and podman in its place
_CONTAINER_FOLDER: Final = "/data"
_CONTAINER_NAME: Final = "bevformer-pulsar2-"
_VERSION: Final = re.compile(r"^version:\s*(\S+)", re.MULTILINE)
_COMMIT: Final = re.compile(r"^commit:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class ToolVersion:
    """Which converter this is.

    Attributes:
        kind: ``docker`` or ``native``.
        location: the image, or the command's path.
        image_id: digest of the image; ``None`` for a native command.
        version: as `pulsar2 version` says.
        commit: likewise.
    """

    kind: str
    location: str
    image_id: str | None
    version: str
    commit: str | None

    def to_content(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Mount:
    """A file or folder that the tool needs.

    Attributes:
        host: where it is.
        inside: its path as the tool sees it.
        writable: whether the tool writes there.
    """

    host: Path
    inside: str
    writable: bool = False


class Tool(Protocol):
    """A place where `pulsar2` can be run."""

    def mount(self, host: Path, name: str, *, writable: bool = False) -> Mount:
        """Return how the tool sees ``host``, which it may know under ``name``."""

    def invocation(self, arguments: Sequence[str], mounts: Sequence[Mount], memory_bytes: int | None) -> Invocation:
        """Return the command that runs `pulsar2` with these arguments."""

    def identify(self) -> ToolVersion:
        """Ask the tool for its version.

        Raises:
            ToolMissingError: it can't be run.
            ImageMissingError: its docker image is not loaded.
        """

    def read_first(self, paths: Sequence[str]) -> str | None:
        """Return the text of the first of some files of the tool's own installation; ``None``: none can be read."""

    def stop_orphaned(self) -> None:
        """Stop what earlier runs left behind: they hold memory and write into abandoned folders."""

    def own(self, folder: Path) -> None:
        """Make the caller the owner of what the tool wrote into a folder."""

    def remove(self, folder: Path) -> None:
        """Remove a folder that the tool wrote into, files of other owners included."""


class NativeTool:
    """A `pulsar2` command of this machine (inside the vendor's container it is one)."""

    def __init__(self, executable: Path) -> None:
        self._executable = executable

    def mount(self, host: Path, name: str, *, writable: bool = False) -> Mount:
        """Return the path itself; a link keeps its name, by whose end the converter knows what a file is."""
        return Mount(host, str(host.absolute()), writable)

    def invocation(self, arguments: Sequence[str], mounts: Sequence[Mount], memory_bytes: int | None) -> Invocation:
        """Return the command, run in the folder that it writes to: it leaves files where it runs."""
        writable = [mount.host for mount in mounts if mount.writable]
        return Invocation((str(self._executable), *arguments), cwd=writable[0] if writable else None)

    def identify(self) -> ToolVersion:
        """Ask the command for its version."""
        completed = run_child(self.invocation(["version"], (), None), limits=Limits(seconds=VERSION_SECONDS))
        return _version("native", str(self._executable), None, completed)

    def read_first(self, paths: Sequence[str]) -> str | None:
        """Return the text of the first file that is there; inside the vendor's container they are this machine's."""
        for path in map(Path, paths):
            with contextlib.suppress(OSError):
                return path.read_text(encoding="utf-8", errors="replace")
        return None

    def own(self, folder: Path) -> None:
        """Do nothing: a process of the caller's writes the caller's files."""

    def stop_orphaned(self) -> None:
        """Do nothing: a process ends with its watchdog."""

    def remove(self, folder: Path) -> None:
        """Remove a folder."""
        shutil.rmtree(folder, ignore_errors=True)


class DockerTool:
    """`pulsar2` inside its docker image."""

    def __init__(self, image: str, docker: Path) -> None:
        self._image = image
        self._docker = docker

    def mount(self, host: Path, name: str, *, writable: bool = False) -> Mount:
        """Return a mount of this file or folder alone.

        Raises:
            ConversionError: docker can't mount a path with a colon.
        """
        resolved = host.resolve()
        if ":" in str(resolved):
            raise ConversionError(f"{resolved}: docker can't mount a path with ':' in it; move or rename it")
        return Mount(resolved, f"{_CONTAINER_FOLDER}/{name}", writable)

    def invocation(self, arguments: Sequence[str], mounts: Sequence[Mount], memory_bytes: int | None) -> Invocation:
        """Return the documented `docker run`, with a name to stop the container by, and a lock of that name."""
        name = f"{_CONTAINER_NAME}{uuid.uuid4().hex[:12]}"
        command = [str(self._docker), "run", "--rm", "--net", "host", "--name", name]
        if memory_bytes is not None:
            # Equal limits: no swap on top.
            command += ["--memory", str(memory_bytes), "--memory-swap", str(memory_bytes)]
        for mount in mounts:
            command += ["-v", f"{mount.host}:{mount.inside}" + ("" if mount.writable else ":ro")]
        return Invocation(
            (*command, self._image, COMMAND, *arguments),
            stop=(str(self._docker), "kill", name),
            lock=Path(tempfile.gettempdir(), f"{name}{SUFFIX}"),
        )

    def identify(self) -> ToolVersion:
        """Find the image and ask the command inside for its version."""
        image_id = self._image_id()
        completed = run_child(self.invocation(["version"], (), None), limits=Limits(seconds=VERSION_SECONDS))
        return _version("docker", self._image, image_id, completed)

    def read_first(self, paths: Sequence[str]) -> str | None:
        """Return the text of the first file that the image holds."""
        for path in paths:
            read = self._run_quietly(("run", "--rm", self._image, "cat", path))
            if read.returncode == 0:
                return read.stdout
        return None

    def own(self, folder: Path) -> None:
        """Give the files that the container's root user wrote to the caller."""
        strangers = (path for path in (folder, *folder.rglob("*")) if path.lstat().st_uid != os.getuid())
        if next(strangers, None) is not None:
            inside = f"{_CONTAINER_FOLDER}/written"
            owner = f"{os.getuid()}:{os.getgid()}"
            self._run_quietly(("run", "--rm", "-v", f"{folder}:{inside}", self._image, "chown", "-R", owner, inside))

    def stop_orphaned(self) -> None:
        """Stop the containers of runs that are gone, watchdog included, and had this machine's temporary folder."""
        stop_orphaned(self._docker, Path(tempfile.gettempdir()), _CONTAINER_NAME)

    def remove(self, folder: Path) -> None:
        """Remove a folder; what the container's root user wrote is removed by that user."""
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            inside = f"{_CONTAINER_FOLDER}/left"
            mounted = ("run", "--rm", "-v", f"{folder}:{inside}", self._image)
            self._run_quietly((*mounted, "find", inside, "-mindepth", "1", "-delete"))
            shutil.rmtree(folder, ignore_errors=True)

    def _run_quietly(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (str(self._docker), *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def _image_id(self) -> str | None:
        """Return the digest of the image.

        Raises:
            ToolMissingError: docker does not work here.
            ImageMissingError: the image is not loaded.
        """
        inspected = self._run_quietly(("image", "inspect", self._image))
        said = inspected.stderr.strip()
        if inspected.returncode != 0 and any(words in said.lower() for words in _IMAGE_MISSING):
            version = image_version(self._image) or "<version>"
            raise ImageMissingError(
                f"docker image '{self._image}' is not loaded; get ax_pulsar2_{version}.tar.gz from "
                f"https://huggingface.co/AXERA-TECH/Pulsar2 and run: docker load -i ax_pulsar2_{version}.tar.gz "
                "(or name another image)"
            )
        if inspected.returncode != 0:
            raise ToolMissingError(
                f"docker at {self._docker} does not work ({said or 'no message'}); start its daemon and check that "
                "this user may use it, or give a native pulsar2"
            )
        try:
            image_id = json.loads(inspected.stdout)[0]["Id"]
        except (ValueError, LookupError, TypeError):
            return None
        return str(image_id)


def find_tool(*, executable: Path | None = None, image: str | None = None) -> Tool:
    """Find the converter.

    What is named comes first, then the environment (``BEVFORMER_PULSAR2`` a command, ``BEVFORMER_PULSAR2_IMAGE`` an
    image), then a `pulsar2` on the path, then docker with :data:`PINNED_IMAGE`.

    Raises:
        ToolMissingError: there is neither, or what was named is not there.
    """
    if executable is not None and image is not None:
        raise ToolMissingError("both a native pulsar2 and a docker image are named; give one of them")
    if executable is None and image is None:
        image = os.environ.get(IMAGE_VARIABLE) or None
        named = os.environ.get(EXECUTABLE_VARIABLE)
        executable = Path(named) if named and image is None else None
    if executable is not None:
        found = shutil.which(executable)
        if found is None:
            raise ToolMissingError(f"{executable}: no such command; check the path of the native pulsar2")
        return NativeTool(Path(found).absolute())
    native = shutil.which(COMMAND) if image is None else None
    if native is not None:
        return NativeTool(Path(native).absolute())
    docker = shutil.which("docker")
    if docker is None:
        raise ToolMissingError(
            "neither pulsar2 nor docker was found; install docker and load the converter's image "
            f"(docker load -i ax_pulsar2_{image_version(PINNED_IMAGE)}.tar.gz), or give a native pulsar2"
        )
    return DockerTool(image or PINNED_IMAGE, Path(docker).absolute())


def named_link(path: Path, link: Path) -> Path:
    """Return ``path`` if its name ends as ``link``'s does, else ``link``, made to lead to it.

    The converter knows files by the end of their names; those of a store have none.
    """
    if path.suffix == link.suffix:
        return path
    link.symlink_to(path.absolute())
    return link


def image_version(image: str) -> str | None:
    """Return the version that an image's tag names; ``None``: it names none, as a digest or ``latest``."""
    tag = _TAG.search(image)
    return tag.group(1) if tag else None


def _version(kind: str, location: str, image_id: str | None, completed: Completed) -> ToolVersion:
    text = "\n".join(completed.lines)
    version, commit = _VERSION.search(text), _COMMIT.search(text)
    if completed.returncode != 0 or version is None:
        said = " | ".join(completed.lines[-3:]) or "nothing"
        raise ToolMissingError(
            f"{location}: 'pulsar2 version' ended with {completed.returncode} and said: {said}; is this Pulsar2?"
        )
    return ToolVersion(kind, location, image_id, version.group(1), commit.group(1) if commit else None)
