"""One command for a machine with an NVIDIA GPU: build, test, time, sanitise, train; one JSON file a stage.

    python -m dev.gpu_check [--stages NAME ...] [--budget SECONDS] [--use-built] [--images DIR] [--output DIR]

The stages come with the most valuable first, and each writes its file as it ends, so that a machine that is
taken away leaves what it has said until then. Uses the Python it is run with, its own torch (2.10 or later)
and whatever else that environment has: no package index is needed. A stage whose tool or package is missing
is skipped with one line that names it; a stage that fails or outruns its time is recorded, and those after it
still run. The exit status is 0 only if no stage failed.
"""
