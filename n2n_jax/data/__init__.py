"""Training data: `sources` of clean images, and `feeds` that make batches."""
