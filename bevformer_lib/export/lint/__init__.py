"""Whether a chip's converter will take a graph: rules, findings that say what to do, and waivers by name."""
