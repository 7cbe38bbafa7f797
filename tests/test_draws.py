"""Words that the host draws: pinned, and of one use each."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatpaste_gpu import draws
from anatpaste_gpu.data.split_draw import Candidate, Held, draw_held_out
from anatpaste_gpu.data.zhanglab import plan
from anatpaste_gpu.training.input import pass_order

DOMAINS = (
    draws.TRAINING_ORDER,
    draws.SPLIT_DRAW,
    draws.ZHANGLAB_SPLIT,
    draws.MODULE_PROCESS,
    draws.MODULE_CHOICE,
    draws.SQUID_AFFINE,
    draws.SQUID_SHORTCUT,
)
#: The first word of pass, or draw, 1 of seed 2024 in each domain.
PINNED_WORDS = [
    928536981974317076,
    3634727736176962279,
    11963376073955798008,
    2045058224127318722,
    7135786690089850057,
    7515639305688713127,
    1784709841422312086,
]
PINNED_SPLIT = {"validation": ["11.png", "16.png"], "test": ["23.png", "15.png", "4.png", "6.png"]}
PINNED_ZHANGLAB = [
    "train/NORMAL/NORMAL2-IM-0003-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0006-0001.jpeg",
    "train/PNEUMONIA/person6_virus_1.jpeg",
    "train/PNEUMONIA/person9_virus_1.jpeg",
]
seeds = st.integers(0, 2**63 - 1)


def test_domains_are_pinned():
    assert DOMAINS == (0, 1, 2, 3, 4, 16, 17)


def test_words_are_pinned():
    first = [int(draws.philox(2024, domain, 1).random_raw()) for domain in DOMAINS]
    assert first == PINNED_WORDS


@given(seed=seeds, number=st.integers(0, 2**48 - 1))
def test_no_two_uses_see_the_same_words(seed, number):
    words = [tuple(draws.philox(seed, domain, number).random_raw(4)) for domain in DOMAINS]
    assert all(a != b for a, b in itertools.combinations(words, 2))


@given(seed=seeds, size=st.integers(0, 50))
def test_a_permutation_has_every_number_once(seed, size):
    words = draws.philox(seed, draws.SPLIT_DRAW)
    for _ in range(2):
        assert sorted(draws.permutation(words, size)) == list(range(size))


@pytest.mark.parametrize("number", [-1, 2**48])
def test_a_number_that_would_run_into_the_domain_is_refused(number):
    with pytest.raises(ValueError, match=rf"number must be in 0\.\.2\*\*48 - 1, got {number}"):
        draws.philox(0, draws.TRAINING_ORDER, number)


@given(seed=seeds, number=st.integers(0, 1000), size=st.integers(1, 30))
def test_the_order_of_a_pass_is_that_of_earlier_releases(seed, number, size):
    # Their key was the seed and the number of the pass alone; an unfinished run goes on alike.
    words = np.random.Philox(key=seed | number << 64).random_raw(size)
    assert np.array_equal(pass_order(seed, number, size), np.argsort(words, kind="stable"))


def test_a_split_is_pinned():
    candidates = [Candidate(f"{i}.png", int(i % 2), f"p{i // 2}") for i in range(24)]
    entries, *_ = draw_held_out(candidates, 2024, Held(1, 2))
    held = {split: [e.path for e in entries if e.split == split] for split in ("validation", "test")}
    assert held == PINNED_SPLIT


def test_zhanglabs_validation_set_is_pinned(tmp_path):
    names = {"NORMAL": "NORMAL2-IM-{:04}-0001.jpeg", "PNEUMONIA": "person{}_virus_1.jpeg"}
    for split, (kind, name) in itertools.product(("train", "test"), names.items()):
        (tmp_path / split / kind).mkdir(parents=True)
        for i in range(12):
            (tmp_path / split / kind / name.format(i + 12 * (split == "test"))).touch()
    manifest = plan(tmp_path, 2024, validation_size=2)
    assert [entry.path for entry in manifest.split("validation")] == PINNED_ZHANGLAB
