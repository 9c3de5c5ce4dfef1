"""`python -m tests.tiny_main`: the program, with a network that compiles in a moment."""

from n2n_jax import main, models
from tests.tiny import TinyNet

if __name__ == '__main__':
    models.REGISTRY['tiny'] = TinyNet
    main.run()
