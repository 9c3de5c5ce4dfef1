"""How good a model is, with and without clean images."""
