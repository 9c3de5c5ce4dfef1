"""Image file formats, for `n2n_jax.io`: bytes to pixels with their metadata, and back.

A codec knows no path: it raises UserError with a predicate ('holds 3 images ...'), and io puts
the name of the file in front.
"""
