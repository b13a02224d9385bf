"""Where checkpoints and scenes come from: a local folder, or the HuggingFace hub at one commit."""
