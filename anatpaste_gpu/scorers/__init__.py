"""What turns embeddings into scores: scikit-learn estimators fitted to those of normal images."""

from anatpaste_gpu.scorers.kernel_density import KernelDensity
from anatpaste_gpu.scorers.mahalanobis import Mahalanobis
from anatpaste_gpu.scorers.nearest_neighbours import NearestNeighbours
from anatpaste_gpu.scorers.scorer import Scorer

__all__ = ["KernelDensity", "Mahalanobis", "NearestNeighbours", "Scorer"]
