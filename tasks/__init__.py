"""Prefect tasks: retries, caching, assets and progress around the library's functions."""
