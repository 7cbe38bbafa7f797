"""What only developers need, and what setup.py reads: never part of the wheel.

The tools (`python -m dev.gpu_check` and so on) and what tests, benchmarks and tools share. It imports neither
tests nor bench; those import it.
"""

from pathlib import Path

#: The checkout, or the unpacked source distribution.
REPOSITORY = Path(__file__).resolve().parent.parent
