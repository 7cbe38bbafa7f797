"""Scoring and preparing on an existing engine: shards of a list, each done once, by actors of Ray Data."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.cluster", "ray", "pyarrow")
