"""The tables of the papers, as data; one module per document."""
