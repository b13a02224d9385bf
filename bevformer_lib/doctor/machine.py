"""Checks of the machine itself: Python, packages, memory, disk."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bevformer_lib.doctor.finding import Finding, fail, ok, warn

DISTRIBUTION: Final = "bevformer-axera"
MEMORY_FILE: Final = Path("/proc/meminfo")
CONTAINER_MEMORY_FILE: Final = Path("/sys/fs/cgroup/memory.max")
_GB: Final = 1e9
_KIB: Final = 1024


def check_python() -> Finding:
    """Check the version of Python against what the package asks for."""
    version = platform.python_version()
    try:
        wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return fail("Python", f"{version}; {DISTRIBUTION} is not installed here", f"pip install {DISTRIBUTION}")
    if version not in SpecifierSet(wanted):
        return fail("Python", f"{version}, but {wanted} is needed", "use another Python: python3.11 -m venv .venv")
    return ok("Python", f"{version} on {platform.machine()}")


def check_packages(extras: Collection[str], *, distribution: str = DISTRIBUTION) -> Finding:
    """Check that everything the package asks for with these extras is installed in a version that it admits."""
    wanted = f"{distribution}[{','.join(sorted(extras))}]" if extras else distribution
    fix = f"pip install '{wanted}'"
    try:
        lines = metadata.requires(distribution) or []
        known = metadata.metadata(distribution).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return fail("packages", f"{distribution} is not installed", fix)
    problems = [f"the installed {distribution} knows no extra '{extra}'" for extra in extras if extra not in known]
    checked = 0
    for requirement in map(Requirement, lines):
        if not _applies(requirement, extras):
            continue
        checked += 1
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if problems:
        return fail("packages", "; ".join(problems), fix)
    return ok("packages", f"{checked} packages of {wanted}")


def check_memory(fail_below_gb: float, warn_below_gb: float) -> Finding:
    """Check the memory that this machine, or the container around, has in all."""
    try:
        total = _total_memory_bytes() / _GB
    except (OSError, ValueError, LookupError) as error:
        return warn("memory", f"can't be read ({error})", f"make sure that there are {warn_below_gb:g} GB")
    found = f"{total:.1f} GB in all"
    if total < fail_below_gb:
        return fail("memory", found, f"use a machine with {warn_below_gb:g} GB (at least {fail_below_gb:g} GB)")
    if total < warn_below_gb:
        return warn("memory", found, f"large models need {warn_below_gb:g} GB; smaller ones will do")
    return ok("memory", found)


def check_disk(folder: Path, fail_below_gb: float, warn_below_gb: float) -> Finding:
    """Check the free space where ``folder`` is, or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / _GB
    found = f"{free:.1f} GB free at {place}"
    if free < fail_below_gb:
        return fail("disk", found, f"free {warn_below_gb:g} GB, or set BEVFORMER_CACHE to a folder on a larger disk")
    if free < warn_below_gb:
        return warn("disk", found, f"{warn_below_gb:g} GB hold checkpoint, scenes and a calibration set")
    return ok("disk", found)


def _applies(requirement: Requirement, extras: Collection[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def _total_memory_bytes() -> int:
    fields = dict(line.split(":", 1) for line in MEMORY_FILE.read_text().splitlines() if ":" in line)
    total = int(fields["MemTotal"].split()[0]) * _KIB
    if CONTAINER_MEMORY_FILE.is_file():
        limit = CONTAINER_MEMORY_FILE.read_text().strip()
        if limit.isdecimal():
            total = min(total, int(limit))
    return total
