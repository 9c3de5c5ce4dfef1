"""The commands, as a user types them, in this process."""

from n2n_jax.cli import n2n as cli


def n2n(*arguments):
    """The exit status."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        return stopped.code
    return 0
