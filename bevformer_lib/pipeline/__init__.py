"""The build as steps over a store: what each is made from and how it is done; who runs them, and where, is not here."""
