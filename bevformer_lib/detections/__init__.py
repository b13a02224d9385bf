"""Detections: what they are, how they are decoded and matched, and how they are kept in files."""
