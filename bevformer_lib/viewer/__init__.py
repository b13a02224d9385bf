"""Scenes with detections for a 3D viewer in which people can scrub through time."""
