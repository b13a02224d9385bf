"""`bevformer publish`: make a build the one that others start from and are compared with."""

from __future__ import annotations


def command(build: str, /, *, store: str, force: str | None = None) -> None:
    """Let the alias `latest` name a build that passed its gates.

    Args:
        build: a build's id, its first digits (six at least), or an alias.
        store: a folder or s3://bucket/prefix.
        force: publish a build that failed gates, or an earlier one; say why: the reason is kept and shown by log.
    """
    from rich.console import Console

    from bevformer_lib.pipeline.publish import named_build, publish_build
    from bevformer_lib.store.open import open_store

    opened = open_store(store, must_exist=True)
    entry = publish_build(opened, named_build(opened, build), force=force)
    note = f" ({entry.note})" if entry.note else ""
    Console(markup=False, highlight=False).print(f"latest: {entry.target}, set {entry.set_at}{note}", soft_wrap=True)
