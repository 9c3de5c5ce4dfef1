"""Codecs of image file formats: bytes to pixels and back.

A codec does not name the file: it raises UserError with a predicate ('holds 3 images ...'), and
`damage.named_in_errors` prepends the path.
"""
