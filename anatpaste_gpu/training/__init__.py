"""Training: the config, the loop and the run folder."""

from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.interrupt import Interrupted
from anatpaste_gpu.training.run import train
from anatpaste_gpu.training.seeds import train_seeds

__all__ = ["Interrupted", "TrainConfig", "train", "train_seeds"]
