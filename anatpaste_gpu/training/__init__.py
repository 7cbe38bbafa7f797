"""Training: the trainer, its input and steps, runs of one or several seeds, their fusion. Draws nothing."""

from anatpaste_gpu.extras import TRAINING, require

require("anatpaste_gpu.training", "train", *TRAINING)

from anatpaste_gpu.runs import TrainConfig
from anatpaste_gpu.training.fusion import fuse_runs
from anatpaste_gpu.training.guards import Interrupted
from anatpaste_gpu.training.run import train
from anatpaste_gpu.training.seeds import train_seeds

__all__ = ["Interrupted", "TrainConfig", "fuse_runs", "train", "train_seeds"]
