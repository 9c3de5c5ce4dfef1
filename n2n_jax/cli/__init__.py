"""The commands of `n2n`, one module each.

A module has `add_parser`, which says what can be typed, and `run`, which does it. Heavy imports are
inside `run`: `n2n --help` answers at once.
"""
