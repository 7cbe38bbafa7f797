"""The order of the training images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatpaste_gpu.training.input import TrainingStream, pass_order

seeds = st.integers(0, 2**63 - 1)


@given(seed=seeds, number=st.integers(0, 2**40), size=st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_a_pass_is_a_permutation_fixed_by_seed_and_number(seed: int, number: int, size: int) -> None:
    order = pass_order(seed, number, size)
    assert sorted(order.tolist()) == list(range(size))
    assert order.tolist() == pass_order(seed, number, size).tolist()


def test_passes_and_seeds_differ() -> None:
    orders = [tuple(pass_order(seed, number, 50)) for seed in range(3) for number in range(3)]
    assert len(set(orders)) == 9


def test_first_places_are_uniform() -> None:
    counts = np.bincount([pass_order(0, number, 10)[0] for number in range(2000)], minlength=10)
    # Chi-square with 9 degrees of freedom: 27.9 is its 99.9 % point, and the draw is fixed.
    assert ((counts - 200) ** 2 / 200).sum() < 27.9


@given(seed=seeds, size=st.integers(1, 30), batch_size=st.integers(1, 40), start=st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_batches_cut_the_stream_anywhere(seed: int, size: int, batch_size: int, start: int) -> None:
    stream, fresh = TrainingStream(size, batch_size, seed), TrainingStream(size, batch_size, seed)
    parts = [stream.batch(step) for step in range(start + 1)]
    rows, index = fresh.batch(start)  # as after a restart
    assert rows.tolist() == parts[start][0].tolist()
    assert index.tolist() == list(range(start * batch_size, (start + 1) * batch_size))
    seen = [row for part, _ in parts for row in part.tolist()]
    for number in range(len(seen) // size):
        assert sorted(seen[number * size : (number + 1) * size]) == list(range(size)), (
            "every image once a pass"
        )


def test_batch_size_does_not_change_the_order() -> None:
    whole = TrainingStream(13, 12, 5).batch(2)[0].tolist()
    parts = [TrainingStream(13, 4, 5).batch(step)[0].tolist() for step in (6, 7, 8)]
    assert whole == [row for part in parts for row in part]


def test_ranks_cut_a_batch_into_equal_parts() -> None:
    whole = TrainingStream(13, 12, 5).batch(4)
    parts = [TrainingStream(13, 12, 5, rank, world=3).batch(4) for rank in range(3)]
    for number in (0, 1):
        assert whole[number].tolist() == [value for part in parts for value in part[number].tolist()]
    with pytest.raises(
        ValueError, match=r"batch_size must be divisible by the 5 ranks that share it, got 12\."
    ):
        TrainingStream(13, 12, 5, world=5)


def test_pinned_order() -> None:
    """The order is part of what a seed means; a change here changes every run."""
    assert pass_order(0, 0, 8).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
