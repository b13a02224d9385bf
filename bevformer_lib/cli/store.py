"""`bevformer store`: what a store holds, copies out of it, whether it is whole, and what it no longer needs."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.store.base import Store
    from bevformer_lib.store.gc import Garbage

command = App(name="store", help="Look into a store, copy from it, check it, clean it.")
_HOUR_S = 3600.0


@command.command
def ls(store: str, kind: str | None = None, /) -> None:
    """List what a store holds.

    Args:
        store: a folder or s3://bucket/prefix.
        kind: list the records of this kind (builds, aliases, or a step's name) instead of counting all.
    """
    from rich.console import Console

    from bevformer_lib.store.open import open_store

    opened = open_store(store, must_exist=True)
    console = Console()
    if kind is not None:
        console.print(record_table(opened, kind))
        return
    console.print(kind_table(opened))
    entries = list(opened.list_objects())
    total = sum(entry.size for entry in entries)
    console.print(f"{len(entries):,} objects, {total / 1e6:,.1f} MB", markup=False, highlight=False)


@command.command
def get(store: str, what: str, /, *, output: Path) -> None:
    """Copy files out of a store.

    Args:
        store: a folder or s3://bucket/prefix.
        what: an alias (latest), a build's id, a step's record (kind/key), or the first digits of a sha256.
        output: file (for a sha256) or folder to write.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.store.open import open_store
    from bevformer_lib.store.retrieve import retrieve

    with progress_bar() as on_progress:
        written = retrieve(open_store(store, must_exist=True), what, output, on_progress=on_progress)
    Console().print(f"written: {written}", markup=False, highlight=False, soft_wrap=True)


@command.command
def verify(store: str, /) -> None:
    """Read everything a store holds and compare it with its digests; every broken object is named.

    What is broken is redone by the next build that needs it.

    Args:
        store: a folder or s3://bucket/prefix.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.errors import StoreError
    from bevformer_lib.store.open import open_store
    from bevformer_lib.store.verify import verify_store

    opened = open_store(store, must_exist=True)
    with progress_bar() as on_progress:
        found = verify_store(opened, on_progress=on_progress)
    counted = f"{found.objects:,} objects ({found.num_bytes / 1e6:,.1f} MB) and {found.records:,} records"
    if found.defects:
        lines = "\n".join(f"  - {defect}" for defect in found.defects)
        raise StoreError(f"{opened.uri}: {len(found.defects)} defects in {counted}:\n{lines}")
    Console().print(f"intact: {counted}", markup=False, highlight=False)


@command.command
def gc(
    store: str,
    /,
    *,
    delete: bool = False,
    keep_builds: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    grace_hours: Annotated[float, Parameter(validator=Number(gte=0))] = 168.0,
) -> None:
    """Show what no published build needs any more; remove it with --delete.

    Everything that a kept build reaches is kept: all builds, or with --keep-builds the newest ones and those that an
    alias names or ever named.

    Args:
        store: a folder or s3://bucket/prefix.
        delete: remove it, instead of only telling.
        keep_builds: number of the newest builds to keep.
        grace_hours: keep what was written or used in these last hours; below 48 only while no build is running.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.store.gc import collect_garbage, find_garbage
    from bevformer_lib.store.open import open_store

    opened = open_store(store, must_exist=True)
    work = collect_garbage if delete else find_garbage
    with progress_bar() as on_progress:
        garbage = work(opened, grace_s=grace_hours * _HOUR_S, keep_builds=keep_builds, on_progress=on_progress)
    for line in garbage_lines(garbage, deleted=delete):
        Console().print(line, markup=False, highlight=False, soft_wrap=True)


def garbage_lines(garbage: Garbage, *, deleted: bool) -> list[str]:
    """Return what was or would be removed, for people."""
    lines = [f"build {build}" for build in garbage.builds]
    lines += [f"record {identity}" for identity in garbage.records]
    lines += [f"object {entry.sha256}  {entry.size:,} bytes" for entry in garbage.objects]
    if garbage.unreadable:
        names = ", ".join(garbage.unreadable)
        lines.append(f"no object can go, since these records can't be read and may name it: {names}")
    total = (
        f"{len(garbage.builds)} builds, {len(garbage.records)} records and {len(garbage.objects)} objects "
        f"({garbage.num_bytes / 1e6:,.1f} MB)"
    )
    kept = f"{garbage.kept_objects:,} objects ({garbage.kept_bytes / 1e6:,.1f} MB) are kept"
    if not lines:
        return [f"nothing to remove; {kept}"]
    return [*lines, f"removed: {total}; {kept}" if deleted else f"would remove: {total}; {kept}; --delete removes them"]


def kind_table(store: Store) -> Table:
    """Return a table of the kinds of records, those of a step's parts together, and of the aliases."""
    from rich.table import Table

    from bevformer_lib.store.aliases import get_alias, list_aliases
    from bevformer_lib.store.base import ALIASES

    counts: dict[str, int] = {}
    for kind in store.list_kinds():
        name = kind.split("/")[0]
        counts[name] = counts.get(name, 0) + len(store.list_records(kind))
    table = Table("kind", "records", "")
    for name, count in sorted(counts.items()):
        entries = ((alias, get_alias(store, alias)) for alias in list_aliases(store)) if name == ALIASES else ()
        table.add_row(name, f"{count:,}", ", ".join(f"{alias} -> {entry.target}" for alias, entry in entries if entry))
    return table


def record_table(store: Store, kind: str) -> Table:
    """Return a table with a row per record of a kind and its parts, the newest first."""
    from rich.table import Table

    from bevformer_lib.errors import StoreError

    kinds = [name for name in store.list_kinds() if name == kind or name.startswith(f"{kind}/")]
    if not kinds:
        known = ", ".join(sorted({name.split("/")[0] for name in store.list_kinds()})) or "no records at all"
        raise StoreError(f"{store.uri}: holds no records of kind {kind}; there are: {known}")
    rows = [(time, f"{name}/{key}") for name in kinds for key, time in store.record_times(name).items()]
    table = Table("record", "written or used, UTC")
    for time, identity in sorted(rows, reverse=True):
        table.add_row(identity, datetime.fromtimestamp(time, timezone.utc).isoformat(sep=" ", timespec="seconds"))
    table.columns[0].overflow = "fold"
    return table
