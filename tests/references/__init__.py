"""Slow, obvious references; they share no code with the package."""
