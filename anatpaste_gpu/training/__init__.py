"""Training: the trainer, its input and steps, runs of one or several seeds, their fusion. Draws nothing."""

from typing import TYPE_CHECKING

from anatpaste_gpu.extras import TRAINING, require

require("anatpaste_gpu.training", "train", *TRAINING)

from anatpaste_gpu.lazy import lazy_names
from anatpaste_gpu.runs import TrainConfig

if TYPE_CHECKING:
    from anatpaste_gpu.training.fusion import fuse_runs
    from anatpaste_gpu.training.guards import Interrupted
    from anatpaste_gpu.training.run import train
    from anatpaste_gpu.training.seeds import train_seeds
else:
    # Evaluation brings SciPy and scikit-learn, which take as long to import as torch; --help needs neither.
    __getattr__, __dir__ = lazy_names(
        __name__,
        {"fuse_runs": "fusion", "Interrupted": "guards", "train": "run", "train_seeds": "seeds"},
    )

__all__ = ["Interrupted", "TrainConfig", "fuse_runs", "train", "train_seeds"]
