"""Checks of programs: docker and the converter."""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

from bevformer_lib.doctor.finding import Finding, fail, ok
from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.tool import find_tool

_SECONDS: Final = 20.0


def check_docker() -> Finding:
    """Check that docker's daemon answers this user."""
    command = shutil.which("docker")
    if command is None:
        return fail("docker", "not found", "install docker (https://docs.docker.com/engine/install/)")
    query = (command, "version", "--format", "{{.Server.Version}}")
    try:
        completed = subprocess.run(
            query, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail("docker", f"does not answer ({type(error).__name__})", "restart it: sudo systemctl restart docker")
    said = completed.stderr.strip().splitlines()
    if completed.returncode != 0:
        reason = said[-1] if said else f"'docker version' ended with {completed.returncode}"
        if "permission denied" in reason.lower():
            return fail("docker", reason, "sudo usermod --append --groups docker $USER, and log in again")
        return fail("docker", reason, "start the daemon: sudo systemctl enable --now docker")
    return ok("docker", f"{completed.stdout.strip()}")


def check_pulsar2() -> Finding:
    """Check that the converter is there, natively or as a docker image, and says its version."""
    try:
        version = find_tool().identify()
    except ConversionError as error:
        found, _, fix = str(error).partition("; ")
        return fail("Pulsar2", found, fix)
    return ok("Pulsar2", f"{version.version} ({version.kind}: {version.location})")
