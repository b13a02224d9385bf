"""`bevformer fetch`: a checkpoint or scenes from the HuggingFace hub."""

from __future__ import annotations

from pathlib import Path


def command(address: str, /, *, output: Path | None = None) -> None:
    """Download a file or a folder, compared with its digests; what was interrupted goes on where it ended.

    HF_TOKEN opens private repositories, HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 uses only the cache.

    Args:
        address: hf://owner/repo[@revision]/path, or hf:///path for the repository AXERA-TECH/bevformer.
        output: copy it to this file or folder; left out, it stays in the shared cache, whose path is printed.
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.source.copy import copy_out
    from bevformer_lib.source.open import fetch, resolve_source

    source = resolve_source(address)
    with progress_bar() as on_progress:
        path = fetch(source, on_progress)
        if output is not None:
            path = copy_out(path, output)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(source.files)} files, {source.num_bytes / 1e6:,.1f} MB of {source.uri}")
    console.print(f"{path}")
