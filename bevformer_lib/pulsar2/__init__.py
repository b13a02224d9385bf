"""The vendor's converter, Pulsar2: its config, its process, and the evidence of what it built."""
