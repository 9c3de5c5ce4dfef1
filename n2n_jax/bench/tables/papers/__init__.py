"""The tables as data; one module per document, or question of our own."""
