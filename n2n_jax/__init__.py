"""Train image denoisers from noisy images alone (Noise2Noise), and know how good they are."""

__version__ = '0.1.0'
