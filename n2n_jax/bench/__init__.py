"""Benchmarks behind `n2n bench`."""
