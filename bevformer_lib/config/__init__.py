"""Model and inference configurations: typed, validated once, never executed."""
