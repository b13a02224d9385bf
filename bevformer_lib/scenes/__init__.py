"""Scenes: six-camera recordings on disk, read, checked, turned into network inputs, and made up for tests."""
