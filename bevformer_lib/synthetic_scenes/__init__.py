"""Synthetic scenes: a small world with known boxes, seen by six cameras."""
