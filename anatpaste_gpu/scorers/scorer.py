"""What every scorer is: fitted to tensors and scoring tensors, low scores being abnormal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from anatpaste_gpu.scorers.validation import as_points, as_queries, check_count


class ExportedDistance(nn.Module):
    """A scorer's `distance` for `torch.export`: any number of points at once, by what runtimes have.

    Attributes:
        offset: what is to be added to its float64 (M,) to be the distance; see `ExportModule.offset`.
    """

    offset: float = 0.0


class Scorer(ABC):
    """Fitted to the embeddings of normal images, it says of others how normal they are.

    It follows scikit-learn: constructors only keep their arguments, `fit` checks them, fitted attributes end
    in an underscore. Tensors stay where they are and come back as tensors. A fit that is refused leaves the
    scorer as it was. `anatpaste_gpu.scorers.estimators` makes estimators of scorers, which take arrays too.

    A subclass has `name`, `state_names`, `least_samples`, `_fit`, `_score`, `_state`, `_load`, `_like` and
    `_exported`, and `_check_settings` where it has settings of its own. Its fitted tensors are attributes.

    Attributes:
        name: as `--scorer` takes it.
        state_names: what `load_state` cannot do without.
        n_features_in_: D, after `fit`.
    """

    name: ClassVar[str]
    state_names: ClassVar[tuple[str, ...]]
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
        return self._fit_to(X, self._fit)

    def score_samples(self, X: Any) -> Any:
        """How normal each point is; higher is more normal.

        Args:
            X: (M, D) as `fit` takes it, a tensor on the device of the fitted state; M may be 0.

        Returns:
            float64 (M,), a tensor of a tensor and an array of an array.

        Raises:
            NotFittedError: `fit` has not been called.
            TypeError: a tensor is not floating-point.
            ValueError: wrong shape, device, or NaN or infinity inside (looking for them synchronises).
        """
        scores = self._score(self._queries(X))
        return scores if isinstance(X, Tensor) else scores.cpu().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, by which a grid search may choose. Synchronises."""
        return float(self.score_samples(X).mean())

    @property
    @abstractmethod
    def least_samples(self) -> int:
        """The fewest points that `fit` takes with these settings."""

    def distance(self, points: Tensor) -> Tensor:
        """Minus `score_samples`, to the bit, with a gradient and without a check.

        Where the points ask for a gradient, the matrices of all chunks are held until it is taken.

        Args:
            points: floating-point (M, D) on the device of the fitted state.

        Returns:
            float64 (M,).
        """
        return -self._score(points)

    def export_module(self) -> ExportedDistance:
        """`distance` as a module that `torch.export` takes, on the device of the fitted state.

        Raises:
            NotFittedError: `fit` has not been called.
        """
        self._check_fitted()
        return self._exported()

    def state(self) -> dict[str, Tensor]:
        """The fitted state by name; `load_state` makes a scorer of it that scores to the same bits.

        Raises:
            NotFittedError: `fit` has not been called.
        """
        self._check_fitted()
        return self._state()

    def load_state(self, state: Mapping[str, Tensor]) -> Self:
        """Puts back what `state` gave, on the tensors' device. Settings are no part of it. Synchronises.

        Returns:
            The estimator itself.

        Raises:
            ValueError: a tensor is missing, or does not go with the settings.
        """
        missing = [name for name in self.state_names if name not in state]
        if missing:
            raise ValueError(
                f"state must hold {', '.join(self.state_names)} for {type(self).__name__}, "
                f"got no {' and no '.join(missing)}."
            )
        self._check_settings()
        with self._all_or_nothing():
            self._load(state)
            self._note_width(self._like.shape[-1])
        return self

    def to(self, device: torch.device | str) -> Self:
        """Moves the fitted state to a device, in place, and returns the estimator.

        Raises:
            NotFittedError: `fit` has not been called.
        """
        self._check_fitted()
        self.__dict__.update(
            {name: value.to(device) for name, value in self.__dict__.items() if isinstance(value, Tensor)}
        )
        return self

    @abstractmethod
    def _fit(self, data: Tensor) -> None:
        """Fits to checked, contiguous float32 or float64 (N, D), N >= `least_samples`."""

    @abstractmethod
    def _score(self, points: Tensor) -> Tensor:
        """`score_samples` of checked points, float64 (M,), with a gradient where the points have one."""

    @abstractmethod
    def _state(self) -> dict[str, Tensor]:
        """`state` of what is fitted."""

    @abstractmethod
    def _load(self, state: Mapping[str, Tensor]) -> None:
        """Takes what `_state` gave as its own."""

    @abstractmethod
    def _exported(self) -> ExportedDistance:
        """`export_module` of what is fitted."""

    @property
    @abstractmethod
    def _like(self) -> Tensor:
        """Fitted state whose last dimension is D; AttributeError before `fit`."""

    def _check_settings(self) -> None:
        """Raises ValueError where an argument of the constructor cannot be used."""
        check_count(self.max_elements, "max_elements")

    def _check_enough(self, count: int) -> None:
        """Raises ValueError where `count` training points are too few."""
        if count < self.least_samples:
            raise ValueError(
                f"X must hold {self.least_samples} or more training points, got n_samples = {count}."
            )

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            from sklearn.exceptions import NotFittedError  # here, for it takes a second to import

            raise NotFittedError(f"this {type(self).__name__} is not fitted yet; call fit first.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def _fit_to(self, X: Any, fit: Callable[[Tensor], None]) -> Self:
        """Checks the settings and the points, and hands these to `fit`."""
        self._check_settings()
        with self._all_or_nothing():
            if isinstance(X, Tensor):
                data = as_points(X)
                self._note_width(data.shape[1])
            else:
                data = self._array(X, fitting=True)
            self._check_enough(len(data))
            # The order of sums depends on the layout, and a state that was stored is contiguous.
            fit(data.contiguous())
        return self

    def _queries(self, X: Any) -> Tensor:
        self._check_fitted()
        if isinstance(X, Tensor):
            return as_queries(X, self._like)
        return self._array(X, fitting=False).to(self._like.device)

    def _array(self, X: Any, *, fitting: bool) -> Tensor:
        """An array-like as a checked tensor, where the scorer is an estimator."""
        raise TypeError(f"X must be a floating-point tensor, got {type(X).__name__}.")

    def _note_width(self, features: int) -> None:
        """What scikit-learn notes of an array's columns, of a tensor, whose columns have no names."""
        self.__dict__.pop("feature_names_in_", None)
        self.n_features_in_ = features

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Puts all attributes back as they were where an error leaves the block."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
