"""Ways to feed one training step."""
