"""From images or captures to weights: the loop, its step, and what they are made of."""
