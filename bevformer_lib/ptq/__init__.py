"""Post-training quantisation: changes of a float graph's weights that lose less once a converter rounds them."""
