"""`bevformer ancestry`: where an artifact comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bevformer_lib.store.ancestry import Ancestor

_DIGITS = 12


def command(artifact: str, /, *others: str, store: str) -> None:
    """Print everything an artifact was made from, back to the files from outside.

    Args:
        artifact: a file, or the first digits of its sha256.
        others: more of them.
        store: the store whose builds are searched: a folder or s3://bucket/prefix.
    """
    from bevformer_lib.files import sha256_of_file
    from bevformer_lib.store.ancestry import ancestry
    from bevformer_lib.store.open import open_store

    opened = open_store(store, must_exist=True)
    for one in (artifact, *others):
        sha256 = sha256_of_file(Path(one)) if Path(one).is_file() else one
        for line in tree_lines(ancestry(opened, sha256)):
            sys.stdout.write(line + "\n")


def tree_lines(node: Ancestor, first: str = "", rest: str = "") -> Iterator[str]:
    """Yield one line per node, parents below what was made from them.

    Args:
        node: the root.
        first: what stands before the root's line.
        rest: what stands before the lines below it.
    """
    yield first + describe(node)
    for number, parent in enumerate(node.parents, start=1):
        last = number == len(node.parents)
        yield from tree_lines(parent, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))


def describe(node: Ancestor) -> str:
    """Return one line about a node: role, digest, and the step or the place that it comes from."""
    artifact, record = node.artifact, node.record
    line = f"{node.role}  {artifact.sha256[:_DIGITS]}  {artifact.size:,} bytes"
    if record is None:
        return f"{line}  from {artifact.source or artifact.made_by or 'outside'}"
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(record.step.parameters.items()))
    packages = ", ".join(f"{name} {version}" for name, version in sorted(record.step.packages.items()))
    details = "; ".join(text for text in (parameters, f"version {record.step.version}", packages) if text)
    return f"{line}  made by {record.step.title} at {record.created_at} ({details})"
