"""The registries: converters and runtimes by name."""
