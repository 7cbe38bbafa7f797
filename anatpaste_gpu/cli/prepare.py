"""anatpaste prepare: a data set's split, counted, saved and checked, and its images decoded once."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from anatpaste_gpu.cli.options import add_engine_options, check_engine_options
from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE, say, tell, with_sentences
from anatpaste_gpu.data import SplitManifest, check_patient_pattern, dataset_names, plan_split, prepare
from anatpaste_gpu.data.licences import data_licence
from anatpaste_gpu.data.manifest import SPLITS
from anatpaste_gpu.extras import require
from anatpaste_gpu.files import check_folder, check_writable


@with_sentences("prepare")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    options = _build_parser().parse_args(list(arguments))
    check_patient_pattern(options.dataset, options.patient_pattern)
    named = {} if options.patient_pattern is None else {"patient_pattern": options.patient_pattern}
    check_engine_options(options)
    if options.engine is not None:
        if options.cache is None:
            raise ValueError(f"--engine {options.engine} needs --cache, a folder.")
        require(f"--engine {options.engine}", "ray")
    if options.output is not None:
        check_writable(options.output)
    if options.cache is not None:
        check_folder(options.cache)
    stored = None if options.check is None else SplitManifest.load(options.check)
    manifest = plan_split(
        options.dataset,
        options.data_root,
        seed=options.seed,
        labelled=options.validation == "labelled",
        workers=options.workers,
        **named,
    )
    for line in _summary(manifest):
        tell(line)
    if stored is not None:
        difference = _difference(stored, manifest)
        if difference is not None:
            say("prepare", f"{options.check} is another split: {difference}.")
            return FAILED
        tell(f"{options.check} is this very split.")
    if options.output is not None:
        manifest.save(options.output)
        tell(f"Written to {options.output}.")
    if options.cache is not None:
        return _prepare(manifest, options)
    return DONE


def _prepare(manifest: SplitManifest, options: argparse.Namespace) -> int:
    start = time.perf_counter()
    size = options.image_size
    asked = {"image_size": size, "cache": options.cache, "workers": options.workers}
    if options.engine is None:
        cached = prepare(manifest.dataset, options.data_root, manifest, **asked)
    else:
        from anatpaste_gpu.cluster.prepare import prepare_on_ray  # which the plain command does without

        asked["address"] = options.address
        cached = prepare_on_ray(manifest.dataset, options.data_root, manifest, **asked)
    seconds = time.perf_counter() - start
    tell(
        f"{len(cached.paths)} images of {size} x {size} ({len(cached.paths) * size * size / 1e6:.0f} MB) in "
        f"{cached.place}: {cached.decoded} decoded, the others found there, in {seconds:.1f} s. "
        f"Train with --cache {options.cache}."
    )
    for reason in cached.skipped.values():
        say("prepare", f"skipped: {reason}")
    return PARTLY_DONE if cached.skipped else DONE


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
    kept, other_kept = set(stored.entries), set(drawn.entries)
    if not any(entry.findings for entry in kept):  # as splits were saved before there were findings
        other_kept = {dataclasses.replace(entry, findings=()) for entry in other_kept}
    other = kept ^ other_kept
    if not other:
        return None
    first = min(other, key=lambda entry: entry.path)
    return f"{len(other)} entries differ, the first is {first.path} in {first.split}"


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste prepare",
        description="Lists a data set as it was published, draws the split that training with the same seed "
        "would use, and says how many images and patients are in each part and under which licence they are. "
        "With --cache it also decodes the images, once; interrupted, the same command goes on.",
        epilog="Exit status: 0 done, 1 the data set is not there or --check found another split, 2 wrong "
        "command line, 3 some files could not be read; their names and the reasons are on standard error.",
    )
    parser.add_argument("--dataset", required=True, choices=dataset_names())
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="its folder; the demo needs none")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (default 0)")
    parser.add_argument(
        "--patient-pattern",
        metavar="REGEX",
        help="data set folder: who an image is of, by its file's name, where patients.csv does not tell: the "
        "first group of this regular expression, or the whole match, such as '^([0-9]+)_'",
    )
    parser.add_argument(
        "--validation",
        choices=("labelled", "pasted"),
        default="labelled",
        help="as training takes it: pasted needs no abnormal images (default labelled)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="save the split as a manifest (JSON)"
    )
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare a saved manifest with this split")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="decode and resize the images into this folder, once"
    )
    parser.add_argument("--image-size", type=int, default=256, help="side of the cached images (default 256)")
    parser.add_argument("--workers", type=int, help="threads that read files (default: one a core)")
    add_engine_options(
        parser,
        "large data sets",
        "decode the images of --cache on Ray, with an actor for each core, into the same files; --workers is "
        "the most actors, too",
    )
    return parser
