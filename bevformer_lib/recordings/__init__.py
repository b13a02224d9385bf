"""A car's recordings in the container format MCAP (https://mcap.dev): read as scenes, and written from scenes."""
