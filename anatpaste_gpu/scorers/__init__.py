"""What turns embeddings into scores: scorers, fitted to those of normal images, and estimators of them."""

from typing import TYPE_CHECKING

from anatpaste_gpu.lazy import lazy_names
from anatpaste_gpu.scorers.scorer import Scorer

if TYPE_CHECKING:
    from anatpaste_gpu.scorers.estimators import KernelDensity, Mahalanobis, NearestNeighbours
else:
    # scikit-learn takes a second to import, and a detector's scores need none of it.
    __getattr__, __dir__ = lazy_names(
        __name__, dict.fromkeys(("KernelDensity", "Mahalanobis", "NearestNeighbours"), "estimators")
    )

__all__ = ["KernelDensity", "Mahalanobis", "NearestNeighbours", "Scorer"]
