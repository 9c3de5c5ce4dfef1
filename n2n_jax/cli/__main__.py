"""`python -m n2n_jax.cli`: the `n2n` command."""

from n2n_jax.cli.n2n import program

if __name__ == '__main__':
    program()
