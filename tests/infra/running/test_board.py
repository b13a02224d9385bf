"""The board's installer and its unit in a Debian with systemd: installed, started, rebooted, updated, removed.

The container has this machine's processor, and the boards' Python 3.10 where this machine has one. It has no NPU, so
what the worker would run on it is left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.files import INFRA, ROOT
from tests.infra.running.bases import debian_archive
from tests.infra.test_edge import make_wheel
from tests.support.prefect_site import Site, running_site, wait_for
from tests.test_python_310 import python_310

POOL = "edge"
SERVICE = "bevformer-worker"
PYTHON = "/opt/python"
_APT = "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"


@dataclass
class Board:
    """A container that boots.

    Attributes:
        root: its file system.
        nspawn: what runs it, while it is switched on.
    """

    root: Path
    nspawn: subprocess.Popen[bytes]

    @classmethod
    def switched_on(cls, root: Path) -> Board:
        """Boot a file system. Its network is the host's, where the server is; nobody keeps a list of machines."""
        board = cls(root, _boot(root))
        board.wait_until_booted()
        return board

    def switch_off(self) -> None:
        """End it in order, as far as it does in time."""
        self.nspawn.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.nspawn.wait(60)
        self.nspawn.kill()
        self.nspawn.wait()

    def reboot(self) -> None:
        """Have it reboot itself: the container ends and asks whoever started it to start it again."""
        self.try_to_run("systemctl", "reboot")
        self.nspawn.wait(120)
        self.nspawn = _boot(self.root)
        self.wait_until_booted()

    def leader(self) -> int | None:
        """Return the process that is the container's first, while there is one."""
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def try_to_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        entered = ["nsenter", "--target", str(self.leader()), "--mount", "--pid", "--ipc", "--uts", "--cgroup"]
        return subprocess.run([*entered, *command], capture_output=True, text=True, check=False)

    def run(self, *command: str) -> str:
        """Run a command that must succeed, and return what it prints."""
        done = self.try_to_run(*command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def wait_until_booted(self) -> None:
        """Wait until systemd has started what it starts."""
        booted = lambda: self.try_to_run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")  # noqa: E731
        wait_for(lambda: self.leader() and booted(), "the board's boot", 180.0, 1.0)

    def main_process(self) -> int:
        """Return the worker's process, as the container numbers it; 0: none."""
        return int(self.run("systemctl", "show", "--property", "MainPID", "--value", SERVICE))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with the pool `edge`."""
    with running_site(tmp_path_factory.mktemp("site"), {}) as running:
        running.prefect(
            "work-pool", "create", POOL, "--type", "process", "--base-job-template", "infra/pools/process.json"
        )
        yield running


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    """A booted board with the installer, a wheel of this product and one that stands for AXEngine."""
    if not os.environ.get("TEST_INFRA"):
        pytest.skip("run by make test-infra")
    if os.geteuid() != 0:
        pytest.skip("not root")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not installed (Debian: apt-get install systemd-container)")
    archive = debian_archive()
    root = Path(tempfile.mkdtemp(prefix="bevformer-board-", dir="/var/tmp"))
    try:
        subprocess.run(["tar", "--extract", "--file", archive, "--directory", root], check=True)
        packages = "systemd systemd-sysv dbus udev python3-venv ca-certificates"
        subprocess.run(["chroot", root, "sh", "-c", f"{_APT} {packages}"], check=True, capture_output=True)
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs")
        (root / "etc/pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
        shutil.copytree(INFRA / "edge", root / "root/edge")
        if found := python_310():
            shutil.copytree(Path(found).resolve().parents[1], root / PYTHON.lstrip("/"), symlinks=True)
            (root / "etc/ld.so.conf.d/python.conf").write_text(f"{PYTHON}/lib\n")
            subprocess.run(["chroot", root, "ldconfig"], check=True)
        build_product(root / "root")
        make_wheel(root / "root", "axengine", "stand-in")
        running = Board.switched_on(root)
        try:
            yield running
        finally:
            running.switch_off()
    finally:
        subprocess.run(["rm", "--recursive", "--force", "--one-file-system", root], check=True)


def _boot(root: Path) -> subprocess.Popen[bytes]:
    command = ["systemd-nspawn", "--boot", "--directory", str(root), "--machine", "board"]
    command += ["--register=no", "--keep-unit", "--console=pipe"]
    with (root / "boot.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def build_product(folder: Path) -> Path:
    """Build this product's wheel, from a copy: the build leaves folders where it runs."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("bevformer_lib", "tasks", "flows"):
            shutil.copytree(ROOT / name, Path(copy) / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), copy]
        subprocess.run(command, check=True, capture_output=True)
    [wheel] = folder.glob("bevformer_axera-*.whl")
    return wheel


def install(board: Board) -> str:
    [wheel] = (board.root / "root").glob("bevformer_axera-*.whl")
    python = f"{PYTHON}/bin/python3.10" if (board.root / PYTHON.lstrip("/")).is_dir() else "python3"
    return board.run(
        *("/root/edge/install.sh", "--package", f"/root/{wheel.name}", "--python", python),
        *("--axengine", "/root/axengine-0.1.0-py3-none-any.whl"),
    )


def online(site: Site) -> int:
    return len(site.online(POOL))


def test_it_is_installed_filled_in_checked_and_started(board: Board, site: Site) -> None:
    printed = install(board)
    assert "now fill in /etc/bevformer/worker.env" in printed
    assert board.run("systemctl", "is-enabled", SERVICE).strip() == "enabled"
    assert board.main_process() == 0, "a worker without a server would only fail"
    settings = board.root / "etc/bevformer/worker.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    settings.write_text(
        settings.read_text().replace("http://SERVER:4200/api", site.api).replace("SERVER:9000", "127.0.0.1:9")
    )

    [doctor] = [line.strip() for line in printed.splitlines() if line.strip().startswith("systemd-run")]
    doctor = doctor.replace("systemd-run", "systemd-run --setenv=COLUMNS=200")  # no table over several lines
    checked = board.try_to_run("sh", "-c", doctor).stdout
    assert f"{site.api}, Prefect" in checked, checked
    assert checked.count("work pool 'edge'") == 1, checked

    board.run("systemctl", "restart", SERVICE)
    wait_for(lambda: online(site) == 1, "the board's worker", 120.0, 1.0)
    user = board.run("stat", "--format", "%U", f"/proc/{board.main_process()}")
    assert user.strip() == "bevformer"


def test_a_killed_worker_is_started_again(board: Board, site: Site) -> None:
    before = board.main_process()
    board.run("systemctl", "kill", "--signal", "KILL", "--kill-whom", "main", SERVICE)
    wait_for(lambda: board.main_process() not in (0, before), "another worker", 60.0, 1.0)


def test_it_survives_a_reboot(board: Board, site: Site) -> None:
    board.run("systemctl", "stop", SERVICE)
    wait_for(lambda: online(site) == 0, "the worker's end to be seen", 120.0, 1.0)
    board.reboot()
    wait_for(lambda: online(site) == 1, "the worker after the reboot", 120.0, 1.0)


def test_an_update_puts_the_new_wheels_in_place_and_leaves_the_settings(board: Board, site: Site) -> None:
    settings = (board.root / "etc/bevformer/worker.env").read_text()
    before = board.main_process()
    make_wheel(board.root / "root", "axengine", "newer")
    assert "now fill in" not in install(board)
    assert board.run("/opt/bevformer/bin/python", "-c", "import axengine; axengine.main()").strip() == "newer"
    assert (board.root / "etc/bevformer/worker.env").read_text() == settings
    assert board.main_process() not in (0, before)


def test_it_is_removed(board: Board) -> None:
    printed = board.run("/root/edge/install.sh", "--remove")
    assert board.try_to_run("systemctl", "status", SERVICE).returncode == 4, "no such unit"
    for gone in (
        "opt/bevformer",
        "etc/systemd/system/bevformer-worker.service",
        "etc/udev/rules.d/70-bevformer-npu.rules",
    ):
        assert not (board.root / gone).exists(), gone
    assert (board.root / "etc/bevformer/worker.env").exists()
    for line in printed.splitlines():
        if line.startswith("  "):
            board.run("sh", "-c", line)
    left = subprocess.run(
        ["find", board.root / "etc", board.root / "var", "-xdev", "-name", "*bevformer*"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert left == []
