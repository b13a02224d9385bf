"""Calibration sets: which frames to take, what the network is fed there, the archives that converters read."""
