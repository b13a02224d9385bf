"""The model that is shipped: its config and its weights, trained on synthetic scenes."""
