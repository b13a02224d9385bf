"""A stand-in for the docker command line: image inspect, run, kill; containers are processes of this machine.

As with the real one, a container is not a child that dies with its client: it lives until it ends or is killed by
name. Mounts become links under a root folder of the container's own, and the stand-in of Pulsar2 inside reads and
writes there alone. The environment says what is there: ``STANDIN_DOCKER_STATE`` (a folder), ``STANDIN_DOCKER_IMAGES``
(names), ``STANDIN_DOCKER_DOWN`` (no daemon), ``STANDIN_DOCKER_DELAY`` (seconds until a container exists),
``STANDIN_DOCKER_FILES`` (a folder with the files of the image), ``STANDIN_DOCKER_OWNER`` (a user, to whom everything
that a container wrote belongs afterwards, as it belongs to root with the real one).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

LOOK_SECONDS = 0.02
DAEMON = "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


class DockerArguments(argparse.ArgumentParser):
    """Flags as strict as docker's, whose own mistakes end with 125."""

    def error(self, message: str) -> None:
        sys.stderr.write(f"{self.prog}: {message}\nSee '{self.prog} --help'.\n")
        sys.exit(125)


def main() -> int:
    command = sys.argv[1:]
    if os.environ.get("STANDIN_DOCKER_DOWN"):
        sys.stderr.write(f"{DAEMON}\n")
        return 1
    if command[:2] == ["image", "inspect"]:
        return inspect_image(command[2:])
    if command[:1] == ["run"]:
        return run(command[1:])
    if command[:1] == ["kill"]:
        return kill(command[1:])
    sys.stderr.write(f"docker: '{' '.join(command[:1])}' is not a command of this stand-in\n")
    return 125


def images() -> list[str]:
    return os.environ.get("STANDIN_DOCKER_IMAGES", "pulsar2:4.2 pulsar2:7.0").split()


def state() -> Path:
    folder = Path(os.environ["STANDIN_DOCKER_STATE"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def inspect_image(names: list[str]) -> int:
    if len(names) != 1 or names[0] not in images():
        sys.stdout.write("[]\n")
        sys.stderr.write(f"Error response from daemon: No such image: {' '.join(names)}\n")
        return 1
    sys.stdout.write(json.dumps([{"Id": "sha256:" + "5" * 64, "RepoTags": names}]) + "\n")
    return 0


def run(arguments: list[str]) -> int:
    parser = DockerArguments(prog="docker run", allow_abbrev=False, add_help=False)
    parser.add_argument("--rm", action="store_true")
    parser.add_argument("--net", choices=("host", "none", "bridge"))
    parser.add_argument("--name")
    parser.add_argument("--memory", "-m")
    parser.add_argument("--memory-swap")
    parser.add_argument("-v", "--volume", action="append", default=[])
    parser.add_argument("-w", "--workdir")
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    for limit in (options.memory, options.memory_swap):
        if limit is not None and not re.fullmatch(r"\d+[bkmg]?", limit):
            parser.error(f"invalid size: '{limit}'")
    if options.image not in images():
        sys.stderr.write(f"Unable to find image '{options.image}' locally\ndocker: pull access denied\n")
        return 125
    if options.command[:1] == ["cat"]:
        return show_files(options.command[1:])
    if options.command[:1] in (["find"], ["chown"]):
        return on_mounts(options)
    if options.command[:1] != ["pulsar2"]:
        sys.stderr.write(f"docker: exec: {options.command[:1]}: executable file not found in $PATH\n")
        return 127
    time.sleep(float(os.environ.get("STANDIN_DOCKER_DELAY", "0")))
    return _run_container(options)


def show_files(paths: list[str]) -> int:
    """Show files of the image, which are those under ``STANDIN_DOCKER_FILES``."""
    for path in paths:
        file = Path(os.environ.get("STANDIN_DOCKER_FILES", "/nonexistent")) / path.lstrip("/")
        if not file.is_file():
            sys.stderr.write(f"cat: {path}: No such file or directory\n")
            return 1
        sys.stdout.write(file.read_text(encoding="utf-8"))
    return 0


def on_mounts(options: argparse.Namespace) -> int:
    """Run a command of the image, as its root user, on what is mounted."""
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in options.volume}
    return subprocess.run([mounted.get(word, word) for word in options.command], check=False).returncode


def leave_to_root(folders: list[str]) -> None:
    """Give what a container wrote to another user, as whose files a real one's are another user's: root's."""
    owner = os.environ.get("STANDIN_DOCKER_OWNER")
    for folder in folders if owner is not None else ():
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, int(owner or 0), int(owner or 0), follow_symlinks=False)


def _run_container(options: argparse.Namespace) -> int:
    name = options.name or uuid.uuid4().hex
    record = state() / f"{name}.json"
    root = state() / f"{name}.root"
    if record.exists():
        sys.stderr.write(f"docker: Error response from daemon: Conflict. The container name '/{name}' is in use\n")
        return 125
    writable = [link(volume, root) for volume in options.volume]
    tagged = f"{options.image.rpartition(':')[2]}-standin"
    environment = {
        **os.environ,
        "STANDIN_PULSAR2_VERSION": os.environ.get("STANDIN_PULSAR2_VERSION", tagged),
        "STANDIN_ROOT": str(root),
        "STANDIN_WRITABLE": os.pathsep.join(target for target in writable if target),
    }
    output = state() / f"{name}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.standins.pulsar2", *options.command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    record.write_text(json.dumps({"pid": process.pid, "arguments": sys.argv[1:]}), encoding="utf-8")
    # A client hands these on to a first process that does not listen to them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with output.open("rb") as file:
        while True:
            ended = process.poll() is not None
            chunk = file.read()
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            if ended and not chunk:
                break
            time.sleep(LOOK_SECONDS)
    record.unlink(missing_ok=True)
    output.unlink(missing_ok=True)
    leave_to_root([volume.split(":")[0] for volume in options.volume if not volume.endswith(":ro")])
    shutil.rmtree(root, ignore_errors=True)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def link(volume: str, root: Path) -> str:
    """Make one mount; return its target if it can be written to."""
    parts = volume.split(":")
    if len(parts) not in (2, 3) or not all(part.startswith("/") for part in parts[:2]) or parts[2:] not in ([], ["ro"]):
        sys.stderr.write(f"docker: invalid volume specification: '{volume}'\n")
        sys.exit(125)
    source, target = Path(parts[0]), root / parts[1].lstrip("/")
    if not source.exists():
        source.mkdir(parents=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)
    return "" if parts[2:] else parts[1]


def kill(names: list[str]) -> int:
    if len(names) != 1:
        sys.stderr.write('docker: "docker kill" requires at least 1 argument.\n')
        return 1
    record = state() / f"{names[0]}.json"
    if not record.exists():
        sys.stderr.write(f"Error response from daemon: Cannot kill container: {names[0]}: No such container\n")
        return 1
    with contextlib.suppress(ProcessLookupError):
        os.killpg(json.loads(record.read_text(encoding="utf-8"))["pid"], signal.SIGKILL)
    sys.stdout.write(f"{names[0]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
