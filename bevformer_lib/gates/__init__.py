"""Gates: what a compiled model must keep to be published, asked of what was measured."""
