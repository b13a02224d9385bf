"""Programs of the boards' processor on this machine: qemu, which the kernel starts for them, also in containers."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_NAME = "bevformer-test-infra"
# A 64-bit little-endian ELF file (executable or shared) of machine 183. F: the kernel opens qemu now, for containers
# have none.
_RULE = (
    rf":{_NAME}:M::"
    r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:"
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:"
)


@contextmanager
def aarch64_programs() -> Iterator[None]:
    """Have programs for aarch64 run, and no longer afterwards. Skips where they can't."""
    if platform.machine() == "aarch64":
        yield
        return
    qemu = shutil.which("qemu-aarch64-static")
    if qemu is None:
        pytest.skip("qemu-aarch64-static is not installed (Debian: apt-get install qemu-user-static)")
    mounted_here = not (_BINFMT / "register").exists()
    if mounted_here:
        mount = ["mount", "-t", "binfmt_misc", "binfmt_misc", str(_BINFMT)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"binfmt_misc can't be mounted, so nothing can run aarch64's programs: {done.stderr.strip()}")
    try:
        try:
            (_BINFMT / "register").write_text(f"{_RULE}{qemu}:F")
        except OSError as error:
            pytest.skip(f"qemu can't be registered for aarch64's programs: {error}")
        try:
            yield
        finally:
            (_BINFMT / _NAME).write_text("-1")
    finally:
        if mounted_here:
            subprocess.run(["umount", str(_BINFMT)], check=True)
