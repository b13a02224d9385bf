"""Inference over scenes: detections, images and videos."""
