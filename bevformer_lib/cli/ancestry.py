"""`bevformer ancestry`: where an artifact comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sized
from pathlib import Path

from bevformer_lib.store.ancestry import Ancestor

_DIGITS = 12
_LONGEST_VALUE = 60


def command(artifact: str, /, *others: str, store: str, full: bool = False) -> None:
    """Print everything an artifact was made from, back to the files from outside.

    What a step was made from is printed where the step appears first.

    Args:
        artifact: a file, or the first digits of its sha256.
        others: more of them.
        store: the store whose builds are searched: a folder or s3://bucket/prefix.
        full: print long settings, and the digests of the code, too.
    """
    from bevformer_lib.files import sha256_of_file
    from bevformer_lib.store.ancestry import ancestry
    from bevformer_lib.store.open import open_store

    opened = open_store(store, must_exist=True)
    for one in (artifact, *others):
        sha256 = sha256_of_file(Path(one)) if Path(one).is_file() else one
        for line in tree_lines(ancestry(opened, sha256), set(), full=full):
            sys.stdout.write(line + "\n")


def tree_lines(node: Ancestor, told: set[str], first: str = "", rest: str = "", *, full: bool = False) -> Iterator[str]:
    """Yield one line per node, parents below what was made from them.

    Args:
        node: the root.
        told: identities of the steps that are not told again; those of this tree are added.
        first: what stands before the root's line.
        rest: what stands before the lines below it.
        full: see :func:`describe`.
    """
    if node.record is not None:
        if node.record.identity in told:
            yield f"{first}{_content(node)}  made by {node.record.step.title}, as above"
            return
        told.add(node.record.identity)
    yield first + describe(node, full=full)
    for number, parent in enumerate(node.parents, start=1):
        last = number == len(node.parents)
        branch, below = ("└── ", "    ") if last else ("├── ", "│   ")
        yield from tree_lines(parent, told, rest + branch, rest + below, full=full)


def describe(node: Ancestor, *, full: bool = True) -> str:
    """Return one line about a node: role, digest, and the step or the place that it comes from.

    Args:
        node: the node.
        full: whether long settings are written out, and digests of this package's own code.
    """
    artifact, record = node.artifact, node.record
    line = _content(node)
    if record is None:
        return f"{line}  from {artifact.source or artifact.made_by or 'outside'}"
    parameters = ", ".join(
        f"{name}={value if full else _shortened(value)}" for name, value in sorted(record.step.parameters.items())
    )
    packages = ", ".join(
        f"{name} {version}"
        for name, version in sorted(record.step.packages.items())
        if full or not name.startswith("bevformer_lib")
    )
    details = "; ".join(text for text in (parameters, f"version {record.step.version}", packages) if text)
    return f"{line}  made by {record.step.title} at {record.created_at} ({details})"


def _content(node: Ancestor) -> str:
    return f"{node.role}  {node.artifact.sha256[:_DIGITS]}  {node.artifact.size:,} bytes"


def _shortened(value: object) -> str:
    text = str(value)
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"({len(value)} entries)" if isinstance(value, Sized) else f"{text[:_LONGEST_VALUE]}…"
