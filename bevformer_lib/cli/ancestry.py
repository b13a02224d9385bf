"""`bevformer ancestry`: where an artifact comes from."""

from __future__ import annotations

from pathlib import Path

from bevformer_lib.store.ancestry import Ancestor

_UNWRAPPED = 1 << 14
"""Width where nobody looks at a terminal: one line per artifact."""


def command(artifact: str, /, *, store: Path) -> None:
    """Print everything an artifact was made from, back to the files from outside.

    Args:
        artifact: a file, or the first digits of its sha256.
        store: the store whose builds are searched.
    """
    from rich.console import Console
    from rich.tree import Tree

    from bevformer_lib.errors import StoreError
    from bevformer_lib.files import sha256_of_file
    from bevformer_lib.store.ancestry import ancestry
    from bevformer_lib.store.folder import FolderStore

    if not (store / "records").is_dir():
        raise StoreError(f"{store}: not a store; give the folder that `bevformer build --store` wrote")
    sha256 = sha256_of_file(Path(artifact)) if Path(artifact).is_file() else artifact
    root = ancestry(FolderStore(store), sha256)
    tree = Tree(describe(root), highlight=False)
    _grow(tree, root)
    console = Console(markup=False, highlight=False)
    console.print(tree, width=None if console.is_terminal else _UNWRAPPED, crop=False)


def describe(node: Ancestor) -> str:
    """Return one line about a node: role, digest, and the step or the place that it comes from."""
    artifact, record = node.artifact, node.record
    line = f"{node.role}  {artifact.sha256[:12]}  {artifact.size:,} bytes"
    if record is None:
        return f"{line}  from {artifact.source or artifact.made_by or 'outside'}"
    parameters = ", ".join(f"{name}={value}" for name, value in sorted(record.step.parameters.items()))
    packages = ", ".join(f"{name} {version}" for name, version in sorted(record.step.packages.items()))
    details = "; ".join(text for text in (parameters, f"version {record.step.version}", packages) if text)
    return f"{line}  made by {record.step.title} at {record.created_at} ({details})"


def _grow(tree: object, node: Ancestor) -> None:
    for parent in node.parents:
        _grow(tree.add(describe(parent)), parent)  # type: ignore[attr-defined]
