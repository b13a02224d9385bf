"""`bevformer log`: the history of a store's builds."""

from __future__ import annotations


def command(*, store: str) -> None:
    """Print what was built, what its gates said, and what was published when and why; the newest first.

    Args:
        store: a folder or s3://bucket/prefix.
    """
    from rich.console import Console
    from rich.table import Table

    from bevformer_lib.pipeline.history import history
    from bevformer_lib.store.open import open_store

    table = Table()
    for column in ("when (UTC)", "build", "what"):
        table.add_column(column, no_wrap=True)
    table.add_column("model", overflow="fold")
    table.add_column("gates, or why", overflow="fold")
    for event in reversed(history(open_store(store, must_exist=True))):
        table.add_row(event.at[:19].replace("T", " "), event.build, event.what, event.model, event.detail)
    Console(markup=False, highlight=False).print(table)
