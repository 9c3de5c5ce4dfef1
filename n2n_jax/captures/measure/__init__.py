"""Measurements on captures of a scene: shifts, brightness, noise."""
