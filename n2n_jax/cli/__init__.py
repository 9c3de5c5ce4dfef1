"""The commands of `n2n`, one module each.

Each has `add_parser`, which declares the arguments, and `run`, which executes the command. Heavy
imports stay inside `run` so that `n2n --help` is fast.
"""
