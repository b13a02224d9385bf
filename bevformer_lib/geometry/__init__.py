"""Geometry that the model and the checks around it share; numpy only."""
