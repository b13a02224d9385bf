"""Which layers a model must keep in higher precision so that it still sees."""
