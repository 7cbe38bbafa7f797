"""The embedded data set "demo": phantoms, so that everything can be tried without any data."""

from pathlib import Path

import torch

from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest
from anatpaste_gpu.data.phantom_findings import FINDINGS, NORMAL_FINDING
from anatpaste_gpu.data.phantoms import render_phantom

DATASET = "demo"
# What a paste inside the lungs can teach to see; the other findings are there for whoever asks for them.
DEFAULT_FINDINGS = ("consolidation", "nodule", "effusion")
# Patients of different splits never share a number, and a split's pictures do not depend on another's size.
_FIRST_NUMBER = {("train", 0): 0, ("validation", 0): 1_000_000, ("validation", 1): 2_000_000}
_FIRST_NUMBER |= {("test", 0): 3_000_000, ("test", 1): 4_000_000}
_MAX_SIZE = 1_000_000


def plan(
    root: Path,
    seed: int,
    *,
    train_size: int = 400,
    validation_size: int = 100,
    test_size: int = 100,
    findings: tuple[str, ...] = DEFAULT_FINDINGS,
) -> SplitManifest:
    """Name the phantoms; nothing is rendered yet.

    Args:
        root: not used.
        seed: seed of every phantom.
        train_size: normal images.
        validation_size: images of each class.
        test_size: images of each class.
        findings: what the abnormal images show, in turn.

    Raises:
        ValueError: a size is not in 1..1,000,000, or a finding is unknown.
    """
    del root
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    for name, size in sizes.items():
        if not 1 <= size <= _MAX_SIZE:
            raise ValueError(f"{name}_size must be in 1..{_MAX_SIZE}, got {size}.")
    unknown = [finding for finding in findings if finding not in FINDINGS]
    if unknown or not findings:
        raise ValueError(f"findings must be among {', '.join(FINDINGS)}, got {', '.join(unknown) or 'none'}.")
    entries = []
    for (split, label), first in _FIRST_NUMBER.items():
        for i in range(sizes[split]):
            finding = findings[i % len(findings)] if label else NORMAL_FINDING
            entries.append(_entry(split, label, first + i, finding))
    notes = ["Phantoms made by code; every image is another patient."]
    return SplitManifest.build(DATASET, seed, entries, notes)


def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, image_size: int) -> torch.Tensor:
    """Render one image of the manifest: uint8 (1, S, S).

    Raises:
        DatasetError: the entry's path does not name a phantom.
    """
    del root
    number, _, finding = Path(entry.path).stem.removeprefix("phantom").partition("_")
    if not number.isdecimal() or (finding or NORMAL_FINDING) not in (NORMAL_FINDING, *FINDINGS):
        raise DatasetError(f"Expected a phantom such as phantom0000001_nodule.png, got {entry.path!r}.")
    phantom = render_phantom(
        int(number), image_size=image_size, seed=manifest.seed, finding=finding or NORMAL_FINDING
    )
    return torch.from_numpy(phantom.image)[None]


def _entry(split: str, label: int, number: int, finding: str) -> ManifestEntry:
    # The validation images live in the train folder, as in the published layout.
    folder = f"chest_xray/{'test' if split == 'test' else 'train'}/{'ABNORMAL' if label else 'NORMAL'}"
    suffix = f"_{finding}" if label else ""
    name, known = f"phantom{number:07d}", (finding,) if label else ()
    return ManifestEntry(f"{folder}/{name}{suffix}.png", label, split, name, known)
