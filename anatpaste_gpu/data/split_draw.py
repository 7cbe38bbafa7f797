"""Drawing a split from a table of candidates: seeded, by whole patients, with nobody on two sides."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.manifest import ManifestEntry
from anatpaste_gpu.draws import SPLIT_DRAW, permutation, philox

# A set too small for the wanted numbers keeps this share of its normal patients for training.
_TRAIN_SHARE = 0.5


@dataclass(frozen=True)
class Candidate:
    """One image that may be used.

    Attributes:
        path: relative to the data set's root.
        label: 0 normal, 1 abnormal.
        patient: identity; equal ones are never in two splits.
        findings: what makes it abnormal, as the data set names it.
    """

    path: str
    label: int
    patient: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """How many images of each class are held out."""

    validation: int
    test: int

    def check(self) -> None:
        """Raises ValueError unless both are at least 1."""
        if min(self.validation, self.test) < 1:
            raise ValueError(f"validation_size and test_size must be at least 1, got {self}.")


def held_out(candidates: Iterable[Candidate], wanted: Held) -> Held:
    """The wanted numbers, or smaller ones in the same proportion where the set has too few patients.

    Validation and test together take at most as many images of each class as half of the normal patients are,
    and no more than there are abnormal patients: drawing by whole patients then never runs out.

    Raises:
        DatasetError: not even one image of each class is to be had for each split.
    """
    patients = _patients(candidates)
    return _fitted(wanted, min(_room(patients[0]), len(patients[1])), patients)


def _patients(candidates: Iterable[Candidate]) -> tuple[set[str], set[str]]:
    """Those with normal, and those with abnormal images."""
    patients: tuple[set[str], set[str]] = (set(), set())
    for candidate in candidates:
        patients[candidate.label].add(candidate.patient)
    return patients


def _room(normal_patients: set[str]) -> int:
    """How many of them may be held out."""
    return int(len(normal_patients) * (1 - _TRAIN_SHARE))


def _fitted(wanted: Held, room: int, patients: tuple[set[str], set[str]]) -> Held:
    """The wanted numbers, or smaller ones in the same proportion that together are `room`."""
    total = wanted.validation + wanted.test
    if room >= total:
        return wanted
    kinds = (wanted.validation > 0) + (wanted.test > 0)
    if room < kinds:
        raise DatasetError(
            f"Too few images to split: they are of {len(patients[0])} normal and {len(patients[1])} abnormal "
            "patients."
        )
    fewer = (wanted.validation * room // total, wanted.test * room // total)
    return Held(max(int(wanted.validation > 0), fewer[0]), max(int(wanted.test > 0), fewer[1]))


class SplitDraw:
    """Draws held-out images one group after another; what is left of the normal ones is for training.

    Args:
        candidates: all images, in any order; the draw does not depend on it.
        seed: of the draw.
    """

    def __init__(self, candidates: Iterable[Candidate], seed: int) -> None:
        self._candidates = sorted(candidates, key=lambda candidate: candidate.path)
        self._words = philox(seed, SPLIT_DRAW)
        self._owner: dict[str, str] = {}
        self._drawn: dict[str, ManifestEntry] = {}

    def keep(self, candidate: Candidate, split: str) -> None:
        """Puts a candidate into a split without drawing; its patient belongs to that split from now on."""
        self._owner[candidate.patient] = split
        self._drawn[candidate.path] = ManifestEntry(
            candidate.path, candidate.label, split, candidate.patient, candidate.findings
        )

    def draw(self, label: int, split: str, count: int, *, finding: str | None = None) -> None:
        """Draws `count` images of a class (and a finding) by whole patients in random order.

        A patient with more images than are still wanted gives as many as there is room for; the others are
        not used at all.

        Raises:
            DatasetError: there are fewer.
        """
        patients = self._available(label, split, finding)
        names = sorted(patients)
        wanted = count
        for i in permutation(self._words, len(names)).tolist():
            for candidate in patients[names[i]][:wanted]:
                self.keep(candidate, split)
                wanted -= 1
        if wanted:
            kind = finding or ("abnormal" if label else "normal")
            raise DatasetError(f"Expected {count} more {kind} images for {split}, found {count - wanted}.")

    def patients_left(self, label: int, split: str, finding: str | None = None) -> int:
        """Patients that `draw` could still take an image from: so many images it can give at least."""
        return len(self._available(label, split, finding))

    def _available(self, label: int, split: str, finding: str | None) -> dict[str, list[Candidate]]:
        patients: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in self._candidates:
            owner = self._owner.get(candidate.patient, split)
            fits = candidate.label == label and (finding is None or finding in candidate.findings)
            if fits and owner == split and candidate.path not in self._drawn:
                patients[candidate.patient].append(candidate)
        return patients

    def count(self, split: str, finding: str) -> int:
        """Images of a split that show a finding."""
        return sum(e.split == split and finding in e.findings for e in self._drawn.values())

    def drawn(self, split: str) -> int:
        """Images of a split so far."""
        return sum(entry.split == split for entry in self._drawn.values())

    def entries(self) -> tuple[list[ManifestEntry], int]:
        """All drawn images and the training set.

        Returns:
            The entries, and the number of normal images that are in no split because their patient is held
            out.
        """
        left = [c for c in self._candidates if c.label == 0 and c.path not in self._drawn]
        train = [candidate for candidate in left if candidate.patient not in self._owner]
        entries = [*self._drawn.values()]
        entries += [ManifestEntry(candidate.path, 0, "train", candidate.patient) for candidate in train]
        return entries, len(left) - len(train)


def draw_held_out(
    candidates: Sequence[Candidate], seed: int, wanted: Held, *, labelled: bool = True
) -> tuple[list[ManifestEntry], int, Held, list[str]]:
    """Draws test and validation images of both classes; the other normal images are for training.

    Args:
        candidates: all images.
        seed: of the draw.
        wanted: how many of each class to hold out.
        labelled: False where the validation set needs no abnormal images. The split is the same one as long
            as there are enough of them; fewer, or none, all go to the test set, and cost no normal ones.

    Returns:
        The entries; the number of normal images that are in no split because their patient is held out; how
        many images of each class are held out; and a sentence if that is fewer than wanted.

    Raises:
        DatasetError: not even one image of each class is to be had for each split.
    """
    patients = _patients(candidates)
    abnormal = len(patients[1])
    draw = SplitDraw(candidates, seed)
    if not labelled:
        sizes = _fitted(wanted, _room(patients[0]), patients)
        if abnormal < sizes.validation + sizes.test:
            return _draw_unlabelled(draw, sizes, min(sizes.test, abnormal), wanted)
    sizes = held_out(candidates, wanted)
    for label in (1, 0):
        draw.draw(label, "test", sizes.test)
        draw.draw(label, "validation", sizes.validation)
    notes = []
    if sizes != wanted:
        notes.append(
            f"Too few images to hold out {wanted.validation} + {wanted.test} of each class: "
            f"{sizes.validation} + {sizes.test} are held out, which leaves at least half of the normal "
            "patients for training."
        )
    return *draw.entries(), sizes, notes


def _draw_unlabelled(
    draw: SplitDraw, sizes: Held, abnormal: int, wanted: Held
) -> tuple[list[ManifestEntry], int, Held, list[str]]:
    """As `draw_held_out`, with no abnormal images in the validation set, and so many in the test set."""
    if abnormal:
        draw.draw(1, "test", abnormal)
    draw.draw(0, "test", sizes.test)
    draw.draw(0, "validation", sizes.validation)
    notes = [
        f"{abnormal} abnormal images are held out to test and none to validate; of the normal ones "
        f"{sizes.test} and {sizes.validation} (wanted: {wanted.test} and {wanted.validation})."
    ]
    return *draw.entries(), sizes, notes


@contextlib.contextmanager
def with_reasons(sentences: Iterable[str]) -> Iterator[None]:
    """Adds to a DatasetError what was found on the way, so that a split without images explains itself."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(" ".join([str(error), *sentences])) from error


def counted(counts: Mapping[str, int], ignored: Sequence[str] = ()) -> str:
    """'12 AP, 3 lateral': the non-zero counts, largest first."""
    kept = [(name, n) for name, n in counts.items() if n and name not in ignored]
    return ", ".join(f"{n:,} {name}" for name, n in sorted(kept, key=lambda item: (-item[1], item[0])))
