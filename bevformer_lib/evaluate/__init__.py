"""Evaluation: raw outputs to boxes, and how far a compiled model is from the float one and from the truth."""
