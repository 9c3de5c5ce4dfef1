"""Image file formats, for `n2n_jax.images` and `n2n_jax.images.image_io`: bytes to pixels, and
back.

A codec names no path: it raises UserError with a predicate ('holds 3 images ...'), and
`damage.named_in_errors` puts the name of the file in front.
"""
