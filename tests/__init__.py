"""The tests; imported before torch is, which reads the number of its threads once."""

import os

# Several processes with all cores each would spend their time waiting for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
