"""The user's noisy captures: finding, correcting, measuring and splitting them."""
