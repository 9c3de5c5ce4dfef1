"""What is measured on captures of a scene: shifts, brightness, noise."""
