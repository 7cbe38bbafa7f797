"""Benchmarks, and the commands that record them in bench/results/."""
