"""Clean images and the batches of a run: `sources` and `feeds`."""
