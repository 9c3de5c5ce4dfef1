"""Evaluation of models, with and without clean images."""
