"""The scorers as scikit-learn estimators: they take arrays too, and work in pipelines and grid searches."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data
from torch import Tensor

from anatpaste_gpu.arrays import as_tensor
from anatpaste_gpu.scorers.kernel_density import DensityScorer
from anatpaste_gpu.scorers.mahalanobis import MahalanobisScorer
from anatpaste_gpu.scorers.nearest_neighbours import NeighbourScorer
from anatpaste_gpu.scorers.scorer import Scorer


class _Estimator(BaseEstimator, Scorer):
    """A scorer of array-likes too, whose results are arrays then."""

    def _array(self, X: Any, *, fitting: bool) -> Tensor:
        """An array-like as a tensor, checked as scikit-learn checks its own estimators' input."""
        kinds = [np.float64, np.float32]
        # No sample at all is no fault of queries, and `_check_enough` refuses it in `fit`.
        checked = validate_data(self, X, reset=fitting, dtype=kinds, ensure_min_samples=0)
        return as_tensor(checked, "X")[0]


def _described(scorer: type[Scorer], name: str) -> str:
    """A scorer's description, for the estimator of that name."""
    return (scorer.__doc__ or "").replace(scorer.__name__, name)


class KernelDensity(_Estimator, DensityScorer):  # noqa: D101
    __doc__ = _described(DensityScorer, "KernelDensity")


class Mahalanobis(_Estimator, MahalanobisScorer):  # noqa: D101
    __doc__ = _described(MahalanobisScorer, "Mahalanobis")


class NearestNeighbours(_Estimator, NeighbourScorer):  # noqa: D101
    __doc__ = _described(NeighbourScorer, "NearestNeighbours")
