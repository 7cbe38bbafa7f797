"""Training: the trainer, its input and steps, and runs of one or several seeds. Draws nothing."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.training", "train")

from anatpaste_gpu.runs import TrainConfig
from anatpaste_gpu.training.guards import Interrupted
from anatpaste_gpu.training.run import train
from anatpaste_gpu.training.seeds import train_seeds

__all__ = ["Interrupted", "TrainConfig", "train", "train_seeds"]
