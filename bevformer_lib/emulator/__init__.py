"""What the vendor's converter makes of a graph's numbers, worked out without the tool, as a graph in QDQ form."""
