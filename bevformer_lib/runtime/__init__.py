"""Runtimes: what executes a compiled model, and the temporal loop around it."""
