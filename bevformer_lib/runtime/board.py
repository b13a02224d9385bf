"""One NPU, one program: a lock on each NPU of this machine, for every program and every user."""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bevformer_lib.errors import RuntimeUnavailableError
from bevformer_lib.files import try_lock

LOCK_VARIABLE: Final = "BEVFORMER_BOARD_LOCK"
"""Names another file, for all NPUs of the machine, as for programs in containers."""
BOARD: Final = "board"
"""The NPU of the machine itself; others are ``card:0``, ``card:1`` and so on."""

_RUN_LOCK: Final = Path("/run/lock")
_TEMPORARY: Final = Path("/tmp")  # noqa: S108 (for all users of the machine, whatever their TMPDIR)
_EVERYBODY: Final = 0o666
_LOOK_SECONDS: Final = 0.5
_MOST_SHOWN: Final = 200

_log = logging.getLogger(__name__)


class _Hold:
    """This process's hold on a lock; it is given back when the last of those who took it is done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.RLock()
        self._holders = 0
        self._descriptor = -1

    def take(self) -> None:
        """Wait until no other process has it."""
        with self._guard:
            self._holders += 1  # first: a runtime that is collected meanwhile gives the board back
            if self._holders == 1:
                try:
                    self._descriptor = _locked(self._path)
                except BaseException:
                    self._holders = 0
                    raise

    def give_back(self) -> None:
        with self._guard:
            self._holders -= 1
            if self._holders == 0:
                os.close(self._descriptor)


_holds: dict[Path, _Hold] = {}


def take_board(npu: str = BOARD) -> Callable[[], None]:
    """Keep an NPU of this machine to this process until it is given back; waits while another process has it.

    A process may take it several times, and has to give it back as often. The kernel takes it from a process that is
    gone, however it went.

    Args:
        npu: which one, ``board`` or ``card:N``.

    Returns:
        What gives it back, to be called once.

    Raises:
        RuntimeUnavailableError: the lock's file can't be made or opened.
    """
    path = lock_path(npu)
    hold = _holds.setdefault(path, _Hold(path))
    hold.take()
    return hold.give_back


def board_user(npu: str = BOARD) -> str | None:
    """Return which other program has an NPU; ``None`` where none has.

    Raises:
        RuntimeUnavailableError: the lock's file can't be made or opened.
    """
    descriptor = _opened(lock_path(npu))
    try:
        return None if try_lock(descriptor) else _holder(descriptor)
    finally:
        os.close(descriptor)


def lock_path(npu: str = BOARD) -> Path:
    """Return the file of an NPU's lock: the same one for all users of a machine."""
    given = os.environ.get(LOCK_VARIABLE)
    if given:
        return Path(given)
    name = f"bevformer-{npu.replace(':', '')}.lock"
    with contextlib.suppress(OSError):
        if _RUN_LOCK.stat().st_mode & stat.S_IWOTH:
            return _RUN_LOCK / name
    return _TEMPORARY / name


def _locked(path: Path) -> int:
    descriptor = _opened(path)
    try:
        if not try_lock(descriptor):
            _log.warning("the NPU is in use by %s; waiting for its end", _holder(descriptor))
            while not try_lock(descriptor):
                time.sleep(_LOOK_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _myself().encode(), 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _opened(path: Path) -> int:
    try:
        return _open(path)
    except OSError as error:
        raise RuntimeUnavailableError(
            f"{path}: can't be opened ({error.strerror}); it keeps two programs from using the NPU at once: let all "
            f"its users write there, or name another file ({LOCK_VARIABLE})"
        ) from error


def _open(path: Path) -> int:
    """Open the file, made if missing, so that every user can.

    In a folder of everybody the kernel refuses O_CREAT for a file that another user made (fs.protected_regular).
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, _EVERYBODY)
            os.fchmod(descriptor, _EVERYBODY)  # whatever the umask
            return descriptor


def _myself() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"process {os.getpid()} of {user} ({Path(sys.argv[0]).name} {' '.join(sys.argv[1:2])})"[:_MOST_SHOWN]


def _holder(descriptor: int) -> str:
    said = os.pread(descriptor, _MOST_SHOWN, 0).decode(errors="replace")
    return "".join(letter for letter in said if letter.isprintable()) or "another process"
