"""The rewrites of the exported graph, one per file, and the order they run in."""
