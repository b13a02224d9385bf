"""Finished work: content-addressed artifacts, the record of every step that made one, and their ancestry."""
