"""Training: the loop, the training step, and the planning of a run."""
