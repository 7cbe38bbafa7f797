"""What every scorer is: a scikit-learn estimator on tensors or arrays, whose low scores are abnormal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array
from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.scorers.points import as_training_points, check_max_elements, check_queries


class Scorer(BaseEstimator, ABC):
    """Fitted to the embeddings of normal images, it says of others how normal they are.

    It follows scikit-learn: constructors only keep their arguments, `fit` checks them, fitted attributes end
    in an underscore. Tensors stay where they are and come back as tensors; arrays come back as arrays.

    Attributes:
        name: as `--scorer` takes it.
        n_features_in_: D, after `fit`.
    """

    name: ClassVar[str]
    max_elements: int

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fits to points.

        Args:
            X: floating-point tensor (N, D), N >= `least_samples`, lower precisions taken as float32; or an
                array-like of numbers.
            y: ignored, for scikit-learn's signature.

        Returns:
            The estimator itself.

        Raises:
            TypeError: a tensor is not floating-point.
            ValueError: a shape, a value or a parameter is out of range. Looking at values synchronises.
        """
        check_max_elements(self.max_elements)
        self._fit(self._training_points(X))
        return self

    def score_samples(self, X: Any) -> Any:
        """How normal each point is; higher is more normal.

        Args:
            X: (M, D) as `fit` takes it, a tensor on the device of the fitted state; M may be 0 for a tensor.

        Returns:
            float64 (M,), a tensor of a tensor and an array of an array.

        Raises:
            NotFittedError: `fit` has not been called.
            TypeError: a tensor is not floating-point.
            ValueError: wrong shape, device, or NaN or infinity inside (looking for them synchronises).
        """
        points = self._queries(X)
        scores = self._score(points)
        return scores if isinstance(X, Tensor) else scores.cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, by which a grid search may choose. Synchronises."""
        return float(self.score_samples(X).mean())

    @property
    @abstractmethod
    def least_samples(self) -> int:
        """The fewest points that `fit` takes with these settings."""

    @abstractmethod
    def distance(self, points: Tensor) -> Tensor:
        """Minus `score_samples` up to a constant, with a gradient and without a check.

        Args:
            points: (M, D) on the device of the fitted state.

        Returns:
            floating-point (M,).
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """The fitted state by name; `load_state` makes a scorer of it that scores to the same bits."""

    @abstractmethod
    def load_state(self, state: Mapping[str, Tensor]) -> Self:
        """Puts back what `state` gave, on the tensors' device, and returns the estimator."""

    def to(self, device: torch.device | str) -> Self:
        """Moves the fitted state to a device, in place, and returns the estimator."""
        return self.load_state({name: tensor.to(device) for name, tensor in self.state().items()})

    @abstractmethod
    def _fit(self, data: Tensor) -> None:
        """Fits to checked float32 or float64 (N, D)."""

    @abstractmethod
    def _score(self, points: Tensor) -> Tensor:
        """`score_samples` of checked points."""

    @property
    @abstractmethod
    def _like(self) -> Tensor:
        """Fitted state whose last dimension is D; AttributeError before `fit`."""

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def _training_points(self, X: Any) -> Tensor:
        data = as_training_points(X if isinstance(X, Tensor) else self._array(X, fitting=True))
        self.n_features_in_ = data.shape[1]
        return data

    def _queries(self, X: Any) -> Tensor:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first")
        if isinstance(X, Tensor):
            return check_queries(X, self._like)
        points = self._array(X, fitting=False).to(self._like.device)
        return check_queries(points, self._like)

    def _array(self, X: Any, *, fitting: bool) -> Tensor:
        """An array-like as a tensor, checked as scikit-learn checks its own estimators' input."""
        try:
            from sklearn.utils.validation import validate_data
        except ImportError:  # before scikit-learn 1.6 it was a method
            checked = self._validate_data(X, reset=fitting, dtype=[np.float64, np.float32])
        else:
            checked = validate_data(self, X, reset=fitting, dtype=[np.float64, np.float32])
        return torch.from_numpy(np.ascontiguousarray(check_array(checked, dtype=[np.float64, np.float32])))
