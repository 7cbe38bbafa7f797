"""Where a run's scalars go beside TensorBoard: a CSV file, MLflow, Weights & Biases."""

from .trackers import Trackers, check_trackers

__all__ = ["Trackers", "check_trackers"]
