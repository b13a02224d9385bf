"""The model that is shipped: its config and its weights, trained on synthetic scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DEMO: Final = "demo"
"""What names the config and the weights, in place of a path."""
CONFIG: Final = Path(__file__).with_name("bevformer_demo.py")
CHECKPOINT: Final = Path(__file__).with_name("checkpoint.pth")
"""The weights, in 16 bits; the card beside them says where they come from."""


def checkpoint_address(address: str | Path) -> str | Path:
    """Return the shipped checkpoint for the word ``demo``, else what was given."""
    return CHECKPOINT if str(address) == DEMO else address
