"""What all scorers have in common: scikit-learn's estimators, their state, distance and refusals."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity as ReferenceDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import validation
from sklearn.utils.estimator_checks import parametrize_with_checks

from anatpaste_gpu.scorers import KernelDensity, Mahalanobis, NearestNeighbours, Scorer
from anatpaste_gpu.scorers.nearest_neighbours import NeighbourScorer
from anatpaste_gpu.scorers.registry import ScorerSettings
from anatpaste_gpu.setting_types import setting_names

from .test_scorers_kernel_density import unit_points

# None of scikit-learn's checks is excused: an entry here would be its name and the reason.
EXPECTED_TO_FAIL: dict[type[Scorer], dict[str, str]] = {
    KernelDensity: {},
    Mahalanobis: {},
    NearestNeighbours: {},
}
#: Every kind of score, and chunks of few elements.
SCORERS = [
    KernelDensity(),
    KernelDensity(0.3, max_elements=40),
    KernelDensity("scott"),
    Mahalanobis(),
    Mahalanobis(max_elements=7),
    NearestNeighbours(3),
    NearestNeighbours(4, neighbour_distance="kth", max_elements=60),
]
every_scorer = pytest.mark.parametrize("scorer", SCORERS, ids=str)
one_of_each = pytest.mark.parametrize("kind", list(EXPECTED_TO_FAIL), ids=lambda kind: kind.name)


@parametrize_with_checks(
    [kind() for kind in EXPECTED_TO_FAIL],
    expected_failed_checks=lambda estimator: EXPECTED_TO_FAIL[type(estimator)],
)
def test_check_estimator(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


def points(count: int, features: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator, dtype=torch.float64).to(dtype)


class TestScikitLearn:
    @every_scorer
    def test_a_clone_has_the_settings_and_not_the_fit(self, scorer: Scorer) -> None:
        fitted = clone(scorer).fit(points(20, 3, 0))
        copied = clone(fitted)
        assert copied.get_params() == scorer.get_params()
        with pytest.raises(NotFittedError):
            copied.score_samples(points(2, 3, 1))
        queries = points(5, 3, 1)
        again = copied.fit(points(20, 3, 0)).score_samples(queries)
        assert torch.equal(again, fitted.score_samples(queries))

    @every_scorer
    def test_copies_and_pickles_score_to_the_bit(self, scorer: Scorer) -> None:
        fitted, queries = clone(scorer).fit(points(20, 3, 0)), points(5, 3, 1)
        for twin in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
            assert torch.equal(twin.score_samples(queries), fitted.score_samples(queries))

    @every_scorer
    def test_arrays_and_tensors_have_the_same_scores(self, scorer: Scorer) -> None:
        train, queries = points(20, 3, 0), points(5, 3, 1)
        scores = clone(scorer).fit(train).score_samples(queries)
        array = clone(scorer).fit(train.numpy()).score_samples(queries.numpy())
        assert isinstance(array, np.ndarray)
        assert array.dtype == np.float64
        assert array.tolist() == scores.tolist()
        assert clone(scorer).fit(train.tolist()).score_samples(queries.tolist()).tolist() == scores.tolist()
        assert clone(scorer).fit(train.numpy()).score_samples(np.empty((0, 3))).shape == (0,)

    @every_scorer
    @pytest.mark.parametrize("kind", ["array", "tensor"])
    def test_a_pipeline_scales_and_scores(self, scorer: Scorer, kind: str) -> None:
        train, queries = points(20, 3, 0), points(5, 3, 1)
        scale = StandardScaler().fit(train.numpy())
        expected = clone(scorer).fit(scale.transform(train.numpy()))
        pipeline = make_pipeline(StandardScaler(), clone(scorer))
        given = (train, queries) if kind == "tensor" else (train.numpy(), queries.numpy())
        scores = pipeline.fit(given[0]).score_samples(given[1])
        assert scores.tolist() == expected.score_samples(scale.transform(queries.numpy())).tolist()

    @every_scorer
    def test_a_pipeline_of_tensors_stays_one(self, scorer: Scorer) -> None:
        train, queries = points(20, 3, 0), points(5, 3, 1)
        rows = torch.nn.functional.normalize
        scores = make_pipeline(FunctionTransformer(rows), clone(scorer)).fit(train).score_samples(queries)
        assert torch.equal(scores, clone(scorer).fit(rows(train)).score_samples(rows(queries)))

    @pytest.mark.parametrize("kind", ["array", "tensor"])
    def test_a_grid_search_finds_scikit_learns_bandwidth(self, kind: str) -> None:
        train = unit_points(60, 4, 0)
        grid, folds = {"bandwidth": [0.05, 0.1, 0.2, 0.5, 1.0]}, KFold(3)
        ours = GridSearchCV(KernelDensity(), grid, cv=folds, error_score="raise")
        ours.fit(train if kind == "tensor" else train.numpy())
        theirs = GridSearchCV(ReferenceDensity(rtol=0, atol=0), grid, cv=folds).fit(train.numpy())
        assert ours.best_params_ == theirs.best_params_
        # Sums of 20 log densities near 100, in another order.
        np.testing.assert_allclose(
            ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=0, atol=1e-9
        )

    @pytest.mark.parametrize("kind", ["array", "tensor"])
    @pytest.mark.parametrize(
        ("scorer", "grid"),
        [
            (Mahalanobis(), {"max_elements": [10, 1000]}),
            (NearestNeighbours(), {"n_neighbors": [1, 3], "neighbour_distance": ["mean", "kth"]}),
        ],
        ids=["mahalanobis", "knn"],
    )
    def test_a_grid_search_is_the_mean_score_of_its_folds(
        self, scorer: Scorer, grid: dict[str, list[Any]], kind: str
    ) -> None:
        train = points(30, 3, 0)
        step = f"{type(scorer).__name__.lower()}__"
        search = GridSearchCV(
            make_pipeline(FunctionTransformer(), scorer),
            {step + name: values for name, values in grid.items()},
            cv=KFold(3),
            error_score="raise",
        ).fit(train if kind == "tensor" else train.numpy())
        for params, score in zip(
            search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
        ):
            of_folds = [
                clone(scorer)
                .set_params(**{name.removeprefix(step): value for name, value in params.items()})
                .fit(train[kept])
                .score_samples(train[left_out])
                .mean()
                for kept, left_out in KFold(3).split(train)
            ]
            # The mean of three means, taken by torch here and by NumPy there.
            assert score == pytest.approx(np.mean(of_folds), rel=1e-13)

    @one_of_each
    def test_an_array_is_looked_through_once(
        self, kind: type[Scorer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks = []
        look = validation._assert_all_finite
        monkeypatch.setattr(
            validation, "_assert_all_finite", lambda *args, **rest: looks.append(look(*args, **rest))
        )
        scorer = kind().fit(np.eye(6) + 1)
        assert len(looks) == 1
        scorer.score_samples(np.eye(6))
        assert len(looks) == 2

    @one_of_each
    def test_memory_that_may_not_be_written_is_copied(self, kind: type[Scorer]) -> None:
        train = points(20, 3, 0).numpy()
        expected = kind().fit(train).score_samples(train).tolist()
        train.flags.writeable = False
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scorer = kind().fit(train)
            assert scorer.score_samples(train).tolist() == expected
        assert train.__array_interface__["data"][0] not in {
            value.data_ptr() for value in vars(scorer).values() if isinstance(value, torch.Tensor)
        }

    @one_of_each
    def test_names_of_columns_go_when_a_tensor_comes(self, kind: type[Scorer]) -> None:
        scorer = kind().fit(points(20, 2, 0).numpy())
        scorer.feature_names_in_ = np.array(["a", "b"], object)
        assert list(scorer.to("cpu").feature_names_in_) == ["a", "b"], "moving is no new fit"
        scorer.fit(points(20, 3, 0))
        assert scorer.n_features_in_ == 3
        assert not hasattr(scorer, "feature_names_in_")


class TestState:
    @settings(max_examples=60, deadline=None)
    @given(
        scorer=st.sampled_from(SCORERS),
        dtype=st.sampled_from([torch.float32, torch.float64]),
        count=st.integers(4, 60),
        features=st.integers(1, 9),
        transposed=st.booleans(),
        seed=st.integers(0, 2**31),
    )
    def test_it_scores_to_the_bit_when_it_is_loaded(
        self, scorer: Scorer, dtype: torch.dtype, count: int, features: int, transposed: bool, seed: int
    ) -> None:
        train, queries = points(count, features, seed, dtype), points(9, features, seed + 1, dtype)
        if transposed:
            train = train.T.contiguous().T
        fitted = clone(scorer).fit(train)
        stored = {name: tensor.clone().contiguous() for name, tensor in fitted.state().items()}
        loaded = clone(scorer).load_state(stored)
        assert set(scorer.state_names) <= set(stored)
        assert loaded.n_features_in_ == features
        assert torch.equal(loaded.score_samples(queries), fitted.score_samples(queries))
        assert torch.equal(fitted.to("cpu").score_samples(queries), loaded.score_samples(queries))
        again = loaded.state()
        assert again.keys() == stored.keys()
        assert all(torch.equal(again[name], tensor) for name, tensor in stored.items())

    @pytest.mark.parametrize("weight", [torch.ones(49), torch.linspace(0, 3, 49)])
    def test_weights_are_part_of_it(self, weight: torch.Tensor) -> None:
        """Equal ones too, where their share is not to the bit what a fit without weights has."""
        train, queries = unit_points(49, 3, 0), unit_points(9, 3, 1)
        fitted = KernelDensity(0.4).fit(train, sample_weight=weight)
        loaded = KernelDensity(0.4).load_state(fitted.state())
        assert torch.equal(loaded.score_samples(queries), fitted.score_samples(queries))

    def test_a_density_without_weights_has_none_in_it(self) -> None:
        assert list(KernelDensity().fit(unit_points(50, 3, 0)).state()) == ["training_data"]

    @one_of_each
    def test_refusals(self, kind: type[Scorer]) -> None:
        for ask in (lambda: kind().state(), lambda: kind().to("cpu")):
            with pytest.raises(NotFittedError, match=f"this {kind.__name__} is not fitted yet; call fit"):
                ask()
        expected = rf"state must hold {', '.join(kind.state_names)} for {kind.__name__}, got no "
        with pytest.raises(ValueError, match=expected + " and no ".join(kind.state_names)):
            kind().load_state({})

    def test_a_covariance_that_is_none(self) -> None:
        state = Mahalanobis().fit(points(20, 3, 0)).state()
        scorer = Mahalanobis().fit(points(20, 2, 0))
        expected = scorer.score_samples(points(5, 2, 1))
        with pytest.raises(ValueError, match="got a covariance that cannot be inverted of 3 features"):
            scorer.load_state({**state, "covariance": -state["covariance"]})
        assert torch.equal(scorer.score_samples(points(5, 2, 1)), expected), "it is as it was"


class TestDistance:
    @every_scorer
    @pytest.mark.parametrize("features", [1, 4])
    def test_its_gradient_is_that_of_differences(self, scorer: Scorer, features: int) -> None:
        fitted = clone(scorer).fit(points(30, features, 0))
        assert torch.autograd.gradcheck(fitted.distance, points(6, features, 1).requires_grad_())

    def test_its_gradient_with_weights(self) -> None:
        fitted = KernelDensity(0.5).fit(points(30, 3, 0), sample_weight=torch.linspace(0, 1, 30))
        assert torch.autograd.gradcheck(fitted.distance, points(6, 3, 1).requires_grad_())

    @settings(max_examples=60, deadline=None)
    @given(
        scorer=st.sampled_from(SCORERS),
        fitted_as=st.sampled_from([torch.float32, torch.float64]),
        scored_as=st.sampled_from([torch.float16, torch.float32, torch.float64]),
        features=st.integers(1, 9),
        seed=st.integers(0, 2**31),
    )
    def test_it_orders_points_as_their_scores_do(
        self, scorer: Scorer, fitted_as: torch.dtype, scored_as: torch.dtype, features: int, seed: int
    ) -> None:
        fitted = clone(scorer).fit(points(30, features, seed, fitted_as))
        queries = points(25, features, seed + 1, scored_as)
        scores, distances = fitted.score_samples(queries), fitted.distance(queries.requires_grad_())
        assert torch.equal(distances.argsort(stable=True), scores.argsort(descending=True, stable=True))
        assert torch.equal(distances.detach(), -scores)

    @every_scorer
    def test_it_has_a_gradient_where_it_is_least(self, scorer: Scorer) -> None:
        """On a training point and on the mean; a root has none at 0."""
        train = points(30, 4, 0)
        fitted = clone(scorer).fit(train)
        centre = getattr(fitted, "location_", train.mean(0))
        queries = torch.cat([train[:3], centre[None]]).requires_grad_()
        fitted.distance(queries).sum().backward()
        assert queries.grad is not None
        assert queries.grad.isfinite().all()

    @every_scorer
    def test_it_has_a_gradient_after_a_fit_in_inference_mode(self, scorer: Scorer) -> None:
        train, queries = points(30, 4, 0), points(5, 4, 1)
        with torch.inference_mode():
            fitted = clone(scorer).fit(train.clone())
            loaded = clone(scorer).load_state(fitted.state())
        expected, got = queries.clone().requires_grad_(), queries.clone().requires_grad_()
        clone(scorer).fit(train).distance(expected).sum().backward()
        for one in (fitted, loaded):
            got.grad = None
            one.distance(got).sum().backward()
            assert torch.equal(got.grad, expected.grad)


class TestRefusals:
    BAD = (
        (torch.ones(3), ValueError, r"X must have shape \(points, features\), got \(3,\)"),
        (torch.ones(5, 0), ValueError, r"X must have shape \(points, features\), got \(5, 0\)"),
        (torch.ones(5, 2).long(), TypeError, "X must be a floating-point tensor, got torch.int64"),
        (torch.full((5, 2), torch.nan), ValueError, "X must be finite, got NaN or infinity"),
        (torch.full((5, 2), torch.inf), ValueError, "X must be finite, got NaN or infinity"),
        (np.full((5, 2), np.nan), ValueError, "Input X contains NaN"),
        (np.ones(3), ValueError, "Expected 2D array, got 1D array instead"),
        (np.ones((5, 2), complex), ValueError, "Complex data not supported"),
        ([["a"]], ValueError, "could not convert string to float"),
    )

    @one_of_each
    @pytest.mark.parametrize(("X", "error", "text"), BAD)
    def test_a_first_fit_that_is_refused_fits_nothing(
        self, kind: type[Scorer], X: Any, error: type[Exception], text: str
    ) -> None:
        scorer = kind()
        before = dict(vars(scorer))
        with pytest.raises(error, match=text):
            scorer.fit(X)
        assert vars(scorer) == before
        with pytest.raises(NotFittedError, match=f"this {kind.__name__} is not fitted yet; call fit first"):
            scorer.score_samples(torch.ones(2, 2))

    @pytest.mark.parametrize(
        ("scorer", "X", "text"),
        [
            (KernelDensity(-1.0), np.ones((5, 2)), "bandwidth must be a finite number > 0"),
            (KernelDensity(), np.empty((0, 2)), "X must hold 1 or more training points, got n_samples = 0"),
            (Mahalanobis(), np.ones((1, 2)), "X must hold 2 or more training points, got n_samples = 1"),
            (Mahalanobis(), np.ones((5, 2)), "X must hold points that differ, got 5 equal ones"),
            (Mahalanobis(), torch.ones(5, 2), "X must hold points that differ, got 5 equal ones"),
            (NearestNeighbours(6), np.ones((5, 2)), "got 6 for n_samples = 5"),
            (NearestNeighbours(6), torch.ones(5, 2), "got 6 for n_samples = 5"),
            (NearestNeighbours(2.5), np.ones((5, 2)), r"n_neighbors must be a whole number >= 1, got 2\.5"),  # type: ignore[arg-type]
        ],
    )
    def test_points_that_cannot_be_fitted_fit_nothing(self, scorer: Scorer, X: Any, text: str) -> None:
        scorer = clone(scorer)
        with pytest.raises(ValueError, match=text):
            scorer.fit(X)
        with pytest.raises(NotFittedError):
            scorer.score_samples(X)

    @one_of_each
    @pytest.mark.parametrize(("X", "error", "text"), BAD)
    def test_a_later_fit_that_is_refused_leaves_the_earlier(
        self, kind: type[Scorer], X: Any, error: type[Exception], text: str
    ) -> None:
        scorer, queries = kind().fit(points(20, 3, 0)), points(5, 3, 1)
        expected = scorer.score_samples(queries)
        with pytest.raises(error, match=text):
            scorer.fit(X)
        assert torch.equal(scorer.score_samples(queries), expected)

    def test_weights_that_are_refused_leave_the_earlier_fit(self) -> None:
        scorer, queries = KernelDensity().fit(points(20, 3, 0)), points(5, 3, 1)
        expected = scorer.score_samples(queries)
        with pytest.raises(ValueError, match="sample_weight must be > 0 somewhere"):
            scorer.fit(points(4, 3, 2), sample_weight=[0, 0, 0, 0])
        assert torch.equal(scorer.score_samples(queries), expected)

    @one_of_each
    def test_queries(self, kind: type[Scorer]) -> None:
        scorer = kind().fit(points(20, 3, 0))
        with pytest.raises(ValueError, match=r"X must have 3 columns as in fit, got shape \(5, 2\)"):
            scorer.score_samples(torch.ones(5, 2))
        with pytest.raises(ValueError, match=f"X has 2 features, but {kind.__name__} is expecting 3"):
            scorer.score_samples(np.ones((5, 2)))
        with pytest.raises(ValueError, match="X must be on cpu like the training data, got meta"):
            # An empty one, as a tensor without values cannot be looked at for NaN.
            scorer.score_samples(torch.empty(0, 3, device="meta"))

    @one_of_each
    @pytest.mark.parametrize("bound", [0, 2.5, True, None])
    def test_max_elements(self, kind: type[Scorer], bound: Any) -> None:
        with pytest.raises(ValueError, match=f"max_elements must be a whole number >= 1, got {bound}"):
            kind(max_elements=bound).fit(points(20, 3, 0))


class TestSettings:
    NAMES = get_args(get_type_hints(ScorerSettings)["scorer"])

    def test_every_name_has_a_section_that_builds_it(self) -> None:
        built = {name: ScorerSettings.of(scorer=name).build(max_elements=99) for name in self.NAMES}
        estimators = {kind.name: kind for kind in EXPECTED_TO_FAIL}
        assert built.keys() == estimators.keys()
        assert all(issubclass(estimators[name], type(scorer)) for name, scorer in built.items())
        assert {scorer.max_elements for scorer in built.values()} == {99}

    def test_settings_reach_their_scorer(self) -> None:
        assert ScorerSettings.of(bandwidth=0.5).build().bandwidth == 0.5  # type: ignore[attr-defined]
        nearest = ScorerSettings.of(scorer="knn", neighbours=3, neighbour_distance="kth").build()
        assert isinstance(nearest, NeighbourScorer)
        assert (nearest.n_neighbors, nearest.neighbour_distance, nearest.least_samples) == (3, "kth", 3)

    def test_flags_stand_side_by_side_in_their_order(self) -> None:
        assert setting_names(ScorerSettings) == ("scorer", "bandwidth", "neighbours", "neighbour_distance")

    def test_too_few_training_images(self) -> None:
        ScorerSettings.of(scorer="mahalanobis").check(2)
        with pytest.raises(ValueError, match=r"scorer mahalanobis needs at least 2 training images, got 1\."):
            ScorerSettings.of(scorer="mahalanobis").check(1)

    def test_a_title_names_what_was_asked_for(self) -> None:
        suffixes = {name: ScorerSettings.of(scorer=name).suffix for name in self.NAMES}
        assert suffixes == {"kde": "", "mahalanobis": " with mahalanobis", "knn": " with knn"}


class TestWithoutScikitLearn:
    """What a detector scores by: the same results, of tensors alone."""

    NAMES = get_args(get_type_hints(ScorerSettings)["scorer"])

    @pytest.mark.parametrize("name", NAMES)
    def test_scores_are_the_estimators(self, name: str) -> None:
        scorer = ScorerSettings.of(scorer=name).build()
        estimator = {kind.name: kind for kind in EXPECTED_TO_FAIL}[name]()
        train, queries = points(20, 3, 0), points(5, 3, 1)
        expected = estimator.fit(train).score_samples(queries)
        assert torch.equal(scorer.fit(train).score_samples(queries), expected)
        assert torch.equal(estimator.load_state(scorer.state()).score_samples(queries), expected)

    @pytest.mark.parametrize("name", NAMES)
    def test_arrays_are_refused(self, name: str) -> None:
        scorer = ScorerSettings.of(scorer=name).build()
        with pytest.raises(TypeError, match="X must be a floating-point tensor, got ndarray"):
            scorer.fit(np.ones((9, 2)))
        with pytest.raises(NotFittedError, match="is not fitted yet; call fit first"):
            scorer.score_samples(torch.ones(2, 2))
