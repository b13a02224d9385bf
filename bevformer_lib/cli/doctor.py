"""`bevformer doctor`: whether this machine is ready for its role."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import Npu
from bevformer_lib.doctor.roles import Role
from bevformer_lib.errors import DoctorError

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.doctor.finding import Finding

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def command(
    *, role: Role = Role.LAPTOP, store: str | None = None, pool: str | None = None, npu: Npu | None = None
) -> None:
    """Check this machine for its role and say what to fix; ends with status 1 if something has to be fixed.

    Args:
        role: laptop (all in one process), cpu (worker that exports and converts), gpu (worker that runs scenes), edge
            (worker on the board), server (Prefect's server).
        store: store whose bucket is to be reached, s3://bucket/prefix.
        pool: work pool of this machine's worker; named like the role if left out.
        npu: which NPU of the board is to start: board, card or card:N; what BEVFORMER_NPU says if left out.
    """
    from rich.console import Console

    from bevformer_lib.doctor.finding import Status
    from bevformer_lib.doctor.prefect_settings import prefect_settings
    from bevformer_lib.doctor.roles import Surroundings, checks_of
    from bevformer_lib.store.open import cache_folder

    environment = {**os.environ, **prefect_settings(os.environ, folder=Path.cwd(), user_home=Path.home())}
    around = Surroundings.of_environment(environment, folder=cache_folder(), pool=pool, store=store, npu=npu)
    findings = [check() for check in checks_of(role, around)]
    Console(markup=False, highlight=False).print(findings_table(role, findings))
    failed = [finding.check for finding in findings if finding.status is Status.FAIL]
    if failed:
        raise DoctorError(f"this machine is not ready as {role.value}: fix {', '.join(failed)}")


def findings_table(role: Role, findings: Sequence[Finding]) -> Table:
    """Return a row per check."""
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "", "found", "to do", title=f"This machine as {role.value}", title_justify="left")
    for finding in findings:
        status = finding.status.value
        table.add_row(finding.check, Text(status, style=_STYLES[status]), finding.found, finding.fix)
    return table
