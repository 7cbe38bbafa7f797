"""Scoring on an existing engine: shards of a list, each scored once, by the actors of Ray Data."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.cluster", "ray", "pyarrow")
