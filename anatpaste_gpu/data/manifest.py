"""The split of a data set as a file: which image is in which split, with which label.

Saved as JSON with one entry a line, so that two splits can be compared with any diff tool.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.files import write_atomically

SPLITS = ("train", "validation", "test")
FORMAT = "anatpaste-split-2"
_ENTRY_KEYS = ("path", "label", "split", "patient", "findings")
# The first format had no findings.
_READABLE = {"anatpaste-split-1": _ENTRY_KEYS[:-1], FORMAT: _ENTRY_KEYS}


@dataclass(frozen=True)
class ManifestEntry:
    """One image.

    Attributes:
        path: relative to the data set's root, with forward slashes.
        label: 0 normal, 1 abnormal.
        split: "train", "validation" or "test".
        patient: identity as far as the file name tells it, or "" where it does not.
        findings: what makes an abnormal image abnormal, as the data set names it; empty where it does not.
    """

    path: str
    label: int
    split: str
    patient: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SplitManifest:
    """A named, seeded split; equal inputs give equal manifests.

    Attributes:
        dataset: name as given to `load_dataset`.
        seed: the seed that drew the split.
        entries: all images, sorted by split and then by path.
        notes: sentences on decisions that were made while splitting, for a person to read.
    """

    dataset: str
    seed: int
    entries: tuple[ManifestEntry, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_entries(self.entries)

    @classmethod
    def build(
        cls, dataset: str, seed: int, entries: Iterable[ManifestEntry], notes: Iterable[str] = ()
    ) -> "SplitManifest":
        """Sort the entries and check them.

        Raises:
            DatasetError: an entry is invalid, a path occurs twice, or an abnormal image is in train.
        """
        ordered = sorted(entries, key=lambda entry: (SPLITS.index(_known_split(entry)), entry.path))
        return cls(dataset, int(seed), tuple(ordered), tuple(notes))

    def split(self, name: str) -> list[ManifestEntry]:
        """Entries of one split, in order."""
        if name not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}.")
        return [entry for entry in self.entries if entry.split == name]

    def to_bytes(self) -> bytes:
        """As JSON in UTF-8; the same manifest always gives the same bytes."""
        head = {"format": FORMAT, "dataset": self.dataset, "seed": self.seed, "notes": list(self.notes)}
        rows = [
            json.dumps([getattr(entry, key) for key in _ENTRY_KEYS], ensure_ascii=False)
            for entry in self.entries
        ]
        text = json.dumps({**head, "columns": list(_ENTRY_KEYS)}, ensure_ascii=False, indent=1)
        body = ",\n  ".join(rows)
        whole = f'{text[:-2]},\n "entries": [\n  {body}\n ]\n}}\n'
        # A byte of a file name that is not UTF-8 becomes the escape that JSON has for it.
        return whole.encode("utf-8", "backslashreplace")

    def save(self, path: str | Path) -> None:
        """Writes `to_bytes`, whole or not at all."""
        write_atomically(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> "SplitManifest":
        """Reads what `save` wrote.

        Raises:
            DatasetError: the file is missing, is not such a manifest, or holds an invalid entry.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DatasetError(f"Split manifest {path} does not exist.") from error
        except (OSError, ValueError, RecursionError) as error:
            raise DatasetError(f"Split manifest {path} is not readable as JSON: {error}.") from error
        try:
            return cls._from_json(content)
        except DatasetError as error:
            raise DatasetError(f"Split manifest {path}: {error}") from error

    @classmethod
    def _from_json(cls, content: Any) -> "SplitManifest":
        written = content.get("format") if isinstance(content, dict) else None
        keys = _READABLE.get(str(written))
        if keys is None:
            raise DatasetError(f"expected a JSON object with format {FORMAT!r}, got {written!r}.")
        rows, notes = content.get("entries"), content.get("notes", [])
        dataset, seed = content.get("dataset"), content.get("seed")
        if not isinstance(dataset, str) or not isinstance(seed, int) or isinstance(seed, bool):
            raise DatasetError(f"dataset must be a string and seed an integer, got {dataset!r} and {seed!r}.")
        if not 0 <= seed < 1 << 63:
            raise DatasetError(f"seed must be in 0..2**63 - 1, got {seed}.")
        if not isinstance(rows, list) or not isinstance(notes, list):
            raise DatasetError(
                f"entries and notes must be lists, got {type(rows).__name__} and {type(notes).__name__}."
            )
        if content.get("columns") != list(keys):
            raise DatasetError(f"columns must be {list(keys)}, got {content.get('columns')}.")
        return cls(dataset, seed, tuple(_from_row(row, keys) for row in rows), tuple(map(str, notes)))


def resolve_inside(root: Path, relative: str) -> Path:
    """Join, after checking that the result cannot leave `root`.

    Raises:
        DatasetError: the path is empty or absolute, or has a "..", a backslash or a drive letter in it.
    """
    parts = PurePosixPath(relative).parts
    outside = not parts or relative.startswith("/") or ".." in parts or "\\" in relative or ":" in parts[0]
    if outside or "\0" in relative or not _is_file_name(relative):
        raise DatasetError(f"path must be relative and stay under the data root, got {relative!r}.")
    return root / relative


def _is_file_name(name: str) -> bool:
    """Whether a file system can have it; half a letter of UTF-16 it cannot."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _from_row(row: Any, keys: tuple[str, ...]) -> ManifestEntry:
    if not isinstance(row, list) or len(row) != len(keys):
        raise DatasetError(f"each entry must be a list of {len(keys)} values, got {row!r}.")
    values = dict(zip(keys, row, strict=True))
    findings = values.pop("findings", [])
    if not isinstance(findings, list) or not all(isinstance(name, str) for name in findings):
        raise DatasetError(f"findings must be a list of strings, got {findings!r}.")
    return ManifestEntry(**values, findings=tuple(findings))


def _known_split(entry: ManifestEntry) -> str:
    if entry.split not in SPLITS:
        raise DatasetError(
            f"split must be one of {', '.join(SPLITS)}, got {entry.split!r} for {entry.path!r}."
        )
    return entry.split


def _check_entries(entries: tuple[ManifestEntry, ...]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if not isinstance(entry.path, str) or not isinstance(entry.patient, str):
            raise DatasetError(f"path and patient must be strings, got {entry.path!r} and {entry.patient!r}.")
        resolve_inside(Path(), entry.path)
        _known_split(entry)
        if type(entry.label) is not int or entry.label not in (0, 1):
            raise DatasetError(f"label must be 0 or 1, got {entry.label!r} for {entry.path!r}.")
        if entry.split == "train" and entry.label != 0:
            raise DatasetError(f"train must hold normal images only, got an abnormal one: {entry.path!r}.")
        if entry.path in seen:
            raise DatasetError(f"each image may occur once, got {entry.path!r} twice.")
        seen.add(entry.path)
