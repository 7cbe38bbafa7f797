"""A run from outside: its config, folder, records, checkpoints and ensembles; nobody else knows its files."""

from anatpaste_gpu.extras import TRAINING, require

require("anatpaste_gpu.runs", "train", *TRAINING)

from anatpaste_gpu.runs.config import Place, TrainConfig
from anatpaste_gpu.runs.folder import RunFolder, SeedsFolder
from anatpaste_gpu.runs.records import Run, ScoredImage, load_runs

__all__ = ["Place", "Run", "RunFolder", "ScoredImage", "SeedsFolder", "TrainConfig", "load_runs"]
