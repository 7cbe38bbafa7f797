"""Finished runs for people: figures as in the paper, and one self-contained page."""
