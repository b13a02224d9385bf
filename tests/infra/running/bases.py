"""Stand-ins for the images that the files in `infra/` are made from, for machines that reach no registry of images.

Each is made from Debian's packages or the Python package index, under the name that the files ask for. An image of that
name that is there already is taken instead, and stays.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.infra.files import INFRA, ROOT
from tests.infra.running.docker import CACHE, docker, has_image, say
from tests.infra.test_edge import make_wheel
from tests.support.seaweedfs import weed

DEBIAN = "bevformer-test-infra:bookworm"
DEBIAN_ARM64 = "bevformer-test-infra:bookworm-arm64"
PYTHON_ARM64 = "bevformer-test-infra:python-arm64"
_MIRROR = "http://deb.debian.org/debian"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_TORCH = re.findall(r'"(torch==[^"]+)"', (INFRA / "docker" / "cpu.Dockerfile").read_text())[0]
_APT = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"

# Debian's Python is 3.11 too. pip may install into it, as into the real image's, and knows the certificates and wheels
# of this machine.
_PYTHON = f"""
RUN {_APT} ca-certificates python3 python3-pip python3-venv \\
    && rm /usr/lib/python3*/EXTERNALLY-MANAGED && ln -s python3 /usr/bin/python
COPY wheels /opt/wheels
COPY ca-certificates.crt {_CERTIFICATES}
ENV PIP_CERT={_CERTIFICATES} PIP_FIND_LINKS=/opt/wheels PIP_RETRIES=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
"""
# In the version that the Dockerfiles take from an index out of reach; boards have none.
_WITH_TORCH = f"RUN pip install --quiet --no-cache-dir {_TORCH}\n"

# What the real one's entrypoint does with these variables, and no more.
_POSTGRES_START = """#!/bin/bash
set -e
export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
mkdir -p "$PGDATA" && chown postgres "$PGDATA" /run/postgresql && chmod 700 "$PGDATA"
as() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
if [ ! -e "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/password
  as initdb --username "$POSTGRES_USER" --auth-local trust --auth-host scram-sha-256 --pwfile /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  as pg_ctl start --wait --options "-c listen_addresses=''"
  as createdb --username "$POSTGRES_USER" "$POSTGRES_DB" || true
  as pg_ctl stop --wait
fi
exec setpriv --reuid postgres --regid postgres --clear-groups postgres -c listen_addresses='*'
"""


class Bases:
    """Makes stand-ins as they are asked for, and removes those that it made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[str] = []

    def make_for(self, text: str) -> None:
        """Make what a compose file or a Dockerfile asks for and is not there."""
        asked = re.findall(r"^\s*image: (\S+:\S+)$", text, re.MULTILINE)
        asked += re.findall(r"^FROM (?:--\S+ )?(\S+:\S+)", text, re.MULTILINE)
        for name in dict.fromkeys(asked):
            self.make(name)

    def make(self, name: str) -> None:
        """Make one, unless there is an image of that name."""
        if has_image(name):
            return
        say(f"making a stand-in for {name}")
        repository, _, tag = name.partition(":")
        if name == DEBIAN:
            docker("import", debian_archive(), name)
        elif name == DEBIAN_ARM64:
            # Debian's docker notes this machine's processor in every image; a platform asked for would not be found.
            docker("import", debian_archive("arm64"), name)
        elif name == PYTHON_ARM64:
            self._prepare_python()
            make_wheel(self._folder / "wheels", "axengine", "stand-in")
            self._build(name, _PYTHON, DEBIAN_ARM64)
        elif repository == "python":
            self._prepare_python()
            self._build(name, _PYTHON + _WITH_TORCH)
        elif repository == "docker":
            (self._folder / "docker").unlink(missing_ok=True)
            shutil.copy(str(shutil.which("docker")), self._folder / "docker")
            self._build(name, "COPY docker /usr/local/bin/docker\n")
        elif repository == "postgres":
            (self._folder / "start").write_text(_POSTGRES_START)
            self._build(
                name,
                f"RUN {_APT} postgresql\nCOPY start /start\nENV PGDATA=/var/lib/postgresql/data\n"
                'ENTRYPOINT ["bash", "/start"]\n',
            )
        elif repository == "redis":
            # The real one is built without the mode that lets only its own host in.
            start = 'exec /usr/bin/redis-server "$@" --protected-mode no'
            (self._folder / "redis-server").write_text(f"#!/bin/sh\n{start}\n")
            self._build(
                name,
                f"RUN {_APT} redis-server && mkdir -p /data\nCOPY redis-server /usr/local/bin/\n"
                "RUN chmod +x /usr/local/bin/redis-server\nWORKDIR /data\n",
            )
        elif repository == "prefecthq/prefect":
            version, _, python = tag.partition("-python")
            self.make(f"python:{python}-slim-bookworm")
            pins = " ".join(re.findall(r'"((?:fastapi|sqlalchemy)<[^"]+)"', (ROOT / "pyproject.toml").read_text()))
            self._build(
                name,
                f"RUN pip install --quiet 'prefect[redis]=={version}' {_quoted(pins)}\nWORKDIR /opt/prefect\n",
                f"python:{python}-slim-bookworm",
            )
        elif repository == "chrislusf/seaweedfs":
            shutil.copy(weed(), self._folder / "weed")
            # The real one's entrypoint starts `weed` as well, with defaults that the compose file overrides.
            self._build(
                name, f'RUN {_APT} wget\nCOPY weed /usr/bin/weed\nRUN chmod +x /usr/bin/weed\nENTRYPOINT ["weed"]\n'
            )
        else:
            pytest.fail(f"no stand-in is known for the image {name}")
        self._made.append(name)

    def _build(self, name: str, instructions: str, base: str = DEBIAN) -> None:
        self.make(base)
        (self._folder / "Dockerfile").write_text(f"FROM {base}\n{instructions}")
        docker("build", "--tag", name, self._folder)

    def _prepare_python(self) -> None:
        shutil.copy(_CERTIFICATES, self._folder)
        wheels = self._folder / "wheels"
        wheels.mkdir(exist_ok=True)
        here = os.environ.get("PIP_FIND_LINKS", "")
        for wheel in Path(here).glob("torch-*.whl") if Path(here).is_dir() else ():
            shutil.copy(wheel, wheels)

    def remove(self) -> None:
        """Remove what was made."""
        for name in reversed(self._made):
            docker("rmi", name)
        self._made.clear()


def debian_archive(architecture: str = "amd64") -> Path:
    """Return Debian's base system as an archive, made at most once a machine."""
    name = "bookworm" if architecture == "amd64" else f"bookworm-{architecture}"
    archive = CACHE / f"{name}.tar"
    if not archive.exists():
        if shutil.which("debootstrap") is None:
            pytest.skip("debootstrap is not installed (Debian: apt-get install debootstrap)")
        say(f"making Debian's base system for {architecture}")
        root = CACHE / name
        shutil.rmtree(root, ignore_errors=True)
        command = ["debootstrap", f"--arch={architecture}", "--variant=minbase", "bookworm", root, _MIRROR]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        # What it mounted there stays where an emulated program held it.
        subprocess.run(["umount", "--recursive", "--lazy", root / "proc"], capture_output=True, check=False)
        unfinished = archive.with_suffix(".unfinished")
        subprocess.run(
            ["tar", "--create", "--one-file-system", "--file", unfinished, "--directory", root, "."], check=True
        )
        shutil.rmtree(root)
        unfinished.rename(archive)
    return archive


def _quoted(requirements: str) -> str:
    return " ".join(f"'{requirement}'" for requirement in requirements.split())
