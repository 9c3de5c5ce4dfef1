"""`n2n` with a network that compiles in a moment; trainings take the steps of N2N_TEST_STEPS."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import TinyNet

from n2n_jax import models
from n2n_jax.cli import n2n

if __name__ == '__main__':
    models.REGISTRY['tiny'] = TinyNet
    arguments = sys.argv[1:]
    if arguments[0] == 'train':
        arguments = [each for each in arguments if not each.startswith('--minutes')]
        arguments += ['--model=tiny', f'--steps={os.environ["N2N_TEST_STEPS"]}']
    sys.argv[1:] = arguments
    n2n.program()
