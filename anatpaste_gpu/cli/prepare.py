"""anatpaste prepare: a data set's split, counted, saved and checked before anything is trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from anatpaste_gpu.cli.outcome import DONE, FAILED, say, with_sentences
from anatpaste_gpu.data import SplitManifest, dataset_names, plan_split
from anatpaste_gpu.data.manifest import SPLITS
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.report.licences import data_licence


@with_sentences("prepare")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    options = _build_parser().parse_args(list(arguments))
    manifest = plan_split(options.dataset, options.data_root, seed=options.seed)
    for line in _summary(manifest):
        print(line)
    if options.check is not None:
        difference = _difference(SplitManifest.load(options.check), manifest)
        if difference is not None:
            say("prepare", f"{options.check} is another split: {difference}.")
            return FAILED
        print(f"{options.check} is this very split.")
    if options.output is not None:
        _save(manifest, options.output)
        print(f"Written to {options.output}.")
    return DONE


def _summary(manifest: SplitManifest) -> list[str]:
    lines = [f"{manifest.dataset}, seed {manifest.seed}:"]
    for split in SPLITS:
        entries = manifest.split(split)
        abnormal = sum(entry.label for entry in entries)
        patients = len({entry.patient for entry in entries if entry.patient})
        known = f", {patients} known patients" if patients else ""
        lines.append(f"  {split:<10} {len(entries) - abnormal:>6} normal {abnormal:>6} abnormal{known}")
    licence = data_licence(manifest.dataset)
    return [*lines, *(f"  {note}" for note in manifest.notes), f"Licence: {licence.title}. {licence.terms}"]


def _difference(stored: SplitManifest, drawn: SplitManifest) -> str | None:
    if stored.dataset != drawn.dataset:
        return f"of data set {stored.dataset}, not {drawn.dataset}"
    if stored.entries == drawn.entries:
        return None
    other = set(stored.entries) ^ set(drawn.entries)
    first = min(other, key=lambda entry: entry.path)
    return f"{len(other)} entries differ, the first is {first.path} in {first.split}"


def _save(manifest: SplitManifest, output: Path) -> None:
    """Whole or not at all; `SplitManifest.save` alone would leave half a file where the disk is full."""
    temporary = output.with_name(f".{output.name}")
    manifest.save(temporary)
    try:
        write_atomically(output, temporary.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste prepare",
        description="Lists a data set as it was published, draws the split that training with the same seed "
        "would use, and says how many images and patients are in each part and under which licence they are. "
        "No image is decoded.",
        epilog="Exit status: 0 done, 1 the data set is not there or --check found another split, 2 wrong "
        "command line.",
    )
    parser.add_argument("--dataset", required=True, choices=dataset_names())
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="its folder; the demo needs none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default 0)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="save the split as a manifest (JSON)"
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare a saved manifest with this split")
    return parser
