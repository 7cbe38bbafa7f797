"""What turns embeddings into scores: estimators fitted to those of normal images."""

from anatpaste_gpu.scorers.kernel_density import KernelDensity
from anatpaste_gpu.scorers.mahalanobis import Mahalanobis
from anatpaste_gpu.scorers.nearest_neighbours import NearestNeighbours

__all__ = ["KernelDensity", "Mahalanobis", "NearestNeighbours"]
