"""Random words that the host draws: one pinned domain a use, so that no two uses see the same words.

Draws of the operators have domains of their own, in csrc/common and `ops`; phantoms are keyed by seed and
number (`data.phantoms`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: The order of a pass over the training set; keyed by the pass's number too.
TRAINING_ORDER = 0
#: A split of a table of images, by patients.
SPLIT_DRAW = 1
#: The validation set that is taken from Zhanglab's official training set.
ZHANGLAB_SPLIT = 2
#: The seed of a rank or a data loader's worker, of `AnatPaste`; keyed by the place of both.
MODULE_PROCESS = 3
#: Whether `AnatPaste` augments an image at all; keyed by the place of sample number and step.
MODULE_CHOICE = 4
#: The seed of what is pasted into held-out normal images, to validate without abnormal ones.
PASTED_VALIDATION = 5
#: How SQUID moves a training image; keyed by its number.
SQUID_AFFINE = 16
#: Which pixels keep their features in SQUID's training; keyed by the image's number.
SQUID_SHORTCUT = 17

_NUMBER_BITS = 48


def philox(
    seed: int, domain: int, number: int = 0, *, place: Sequence[int] = (0, 0, 0, 0)
) -> np.random.Philox:
    """Philox 4x64-10, keyed by seed, domain and number.

    Args:
        seed: in 0..2**63 - 1.
        domain: one of those above, in 0..2**16 - 1.
        number: in 0..2**48 - 1.
        place: the counter to begin at, four words in 0..2**64 - 1, the first of which counts on.
    """
    if not 0 <= number < 1 << _NUMBER_BITS:
        raise ValueError(f"number must be in 0..2**{_NUMBER_BITS} - 1, got {number}.")
    key = seed | (domain << _NUMBER_BITS | number) << 64
    return np.random.Philox(key=key, counter=np.array(place, np.uint64))


def permutation(words: np.random.Philox, size: int) -> np.ndarray:
    """The next permutation of 0..size - 1, int64 (size,).

    Sorting raw words, whose stream NumPy guarantees, gives the same one with every version of NumPy, which a
    Generator's own does not promise.
    """
    return np.argsort(words.random_raw(size), kind="stable")
