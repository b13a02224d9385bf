"""`bevformer extract-config`."""

from __future__ import annotations

from pathlib import Path


def command(config: str, *, output: Path) -> None:
    """Write the inference config.

    Args:
        config: preset name, or an original config file.
        output: the file to write.
    """
    raise OSError(28, "No space left", str(output))
