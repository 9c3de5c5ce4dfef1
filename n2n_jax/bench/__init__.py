"""Benchmarks: commands that measure and write down what they saw."""
