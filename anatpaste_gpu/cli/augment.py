"""anatpaste augment: what the augmentation makes of images, as a gallery to look at or a folder to use."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from anatpaste_gpu.cli.anonymous import add_corners_option
from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE, say, tell, with_sentences
from anatpaste_gpu.data import ImageReadError, discover_images, read_image
from anatpaste_gpu.data.corners import without_corners
from anatpaste_gpu.data.discovery import without_suffix
from anatpaste_gpu.data.masks import check_masks, load_masks
from anatpaste_gpu.files import check_folder, check_writable, write_atomically
from anatpaste_gpu.methods.pretext import TASKS, Task
from anatpaste_gpu.report.augmentation_plot import augmentation_plot
from anatpaste_gpu.report.score_plots import save_plot
from anatpaste_gpu.settings import AnatPasteConfig

_PAPER = AnatPasteConfig()
#: Name -> the task, whose title heads its column; each makes one copy of an image.
RECIPES = {
    "paper": TASKS["anatpaste"].configured(_PAPER),
    "official": dataclasses.replace(
        TASKS["anatpaste"].configured(AnatPasteConfig.official()), title="AnatPaste (published code)"
    ),
    "without-segmentation": TASKS["anatpaste-no-segmentation"].configured(_PAPER),
    "without-blur": TASKS["anatpaste-no-blur"].configured(_PAPER),
    "with-strokes": TASKS["anatpaste-strokes"].configured(_PAPER),
    "cutpaste-normal": TASKS["cutpaste-normal"],
    "cutpaste-scar": TASKS["cutpaste-scar"],
    "cutpaste-union": TASKS["cutpaste-union"],
}
_BATCH = 32


@dataclass(frozen=True)
class Source:
    """An image file and where its augmented copies go.

    Attributes:
        path: the file.
        name: as a folder of masks calls it: relative to the folder that was given, with forward slashes.
    """

    path: Path
    name: str

    @property
    def target(self) -> str:
        """Path below the output folder, without a suffix."""
        return without_suffix(self.name)


@with_sentences("augment")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = _build_parser()
    options = parser.parse_args(list(arguments))
    recipes = options.recipe or ["paper"]
    if options.folder is None and options.gallery is None:
        parser.error("give --gallery FILE, --folder DIR, or both.")
    if options.folder is not None and len(recipes) > 1:
        parser.error("--folder takes one --recipe; a gallery takes several.")
    if options.copies < 1 or options.rows < 1:
        parser.error("--copies and --rows must be at least 1.")
    if options.gallery is not None:
        check_writable(options.gallery)
    if options.folder is not None:
        check_folder(options.folder)
    skipped: list[str] = []
    sources = find_sources(options.images, skipped)
    if options.masks is not None:
        check_masks(options.masks, _names(sources))
    if options.gallery is not None:
        _draw_gallery(sources, recipes, options, skipped)
    written = None
    if options.folder is not None:
        written = _write_folder(sources, RECIPES[recipes[0]], options, skipped)
    for reason in dict.fromkeys(skipped):
        say("augment", f"skipped: {reason}")
    if written == 0:
        return FAILED
    return PARTLY_DONE if skipped else DONE


def find_sources(paths: Sequence[Path], skipped: list[str]) -> list[Source]:
    """Files, and all images below folders, each with a target of its own.

    Args:
        paths: files and folders.
        skipped: one sentence is appended for every file or folder that could not be looked into.

    Raises:
        ValueError: a path is missing, a folder holds no image, or two images would be written to one file.
    """
    sources: list[Source] = []
    for path in paths:
        if path.is_dir():
            found = discover_images(path)
            if not found.files:
                raise ValueError(" ".join([found.why_empty(), *found.unread]))
            skipped += found.unread
            for note in found.notes():
                say("augment", note)
            sources += [Source(file, file.relative_to(path).as_posix()) for file in found.files]
        else:
            sources.append(Source(path, path.name))
    owners: dict[str, Path] = {}
    for source in sources:
        other = owners.setdefault(source.target, source.path)
        if other != source.path:
            raise ValueError(f"{other} and {source.path} would both be written to {source.target}.png.")
    return sources


def _draw_gallery(
    sources: list[Source], recipes: list[str], options: argparse.Namespace, skipped: list[str]
) -> None:
    chosen = sources[: options.rows]
    batch = next(_batches(chosen, options, len(chosen), skipped), None)
    if batch is None:
        raise ValueError("no image could be read for the gallery.")
    numbers, images, kept = batch
    columns = {"original": images}
    for name in recipes:
        task = RECIPES[name]
        masks = _masks(kept, options, task)
        (columns[task.title],) = task.augment(images, seed=options.seed, index=numbers, masks=masks)
    save_plot(augmentation_plot(columns), options.gallery)
    tell(str(options.gallery))


def _write_folder(sources: list[Source], task: Task, options: argparse.Namespace, skipped: list[str]) -> int:
    """Writes the copies; returns how many."""
    written = 0
    for numbers, images, batch in _batches(sources, options, _BATCH, skipped):
        masks = _masks(batch, options, task)
        for copy in range(options.copies):
            (twins,) = task.augment(images, seed=options.seed, index=numbers, step=copy, masks=masks)
            for source, twin in zip(batch, twins, strict=True):
                ending = f"-{copy}.png" if options.copies > 1 else ".png"
                reason = _save(twin, options.folder / f"{source.target}{ending}")
                skipped += [reason] if reason else []
                written += not reason
    tell(f"{written} images in {options.folder}.")
    return written


def _save(twin: torch.Tensor, target: Path) -> str | None:
    """Writes a PNG, whole or not at all; a sentence where the name alone forbids it."""
    picture = io.BytesIO()
    Image.fromarray(twin[0].numpy()).save(picture, "PNG")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, picture.getvalue(), durable=False)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise OSError(f"{target} cannot be written: {error.strerror}.") from error
        return f"{target} cannot be written: {error.strerror}."
    return None


def _masks(batch: list[Source], options: argparse.Namespace, task: Task) -> torch.Tensor | None:
    """Precomputed masks of a batch, or None: to be segmented, or not looked at."""
    if options.masks is None or not task.segments:
        return None
    return load_masks(options.masks, _names(batch), options.image_size, progress=False)


def _names(sources: list[Source]) -> list[str]:
    """What a folder of masks calls the images."""
    return [source.name for source in sources]


def _batches(
    sources: list[Source], options: argparse.Namespace, size: int, skipped: list[str]
) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[Source]]]:
    """Numbers, images and sources of what can be read; an image's number is its place among all sources."""
    for start in range(0, len(sources), size):
        read: list[tuple[int, torch.Tensor, Source]] = []
        for number, source in enumerate(sources[start : start + size], start):
            try:
                read.append((number, read_image(source.path, options.image_size), source))
            except ImageReadError as error:
                skipped.append(str(error))
        if read:
            numbers, images, kept = zip(*read, strict=True)
            # Before the augmentation, which may paste a corner into the middle.
            shown = without_corners(torch.stack(images), options.blank_corners)
            yield torch.tensor(numbers, device="cpu"), shown, list(kept)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste augment",
        description="Shows or writes what the augmentation makes of radiographs. An image's draw depends on "
        "the seed, its place among the inputs and the copy's number alone: the same command gives the same "
        "files.",
        epilog="Exit status: 0 done, 1 nothing could be done, 2 wrong command line, 3 some images skipped.",
    )
    parser.add_argument("images", type=Path, nargs="+", help="PNG, JPEG or DICOM files, or folders of them")
    parser.add_argument("--gallery", type=Path, metavar="FILE", help="PNG of originals beside their twins")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to write augmented PNGs")
    parser.add_argument(
        "--recipe",
        action="append",
        choices=tuple(RECIPES),
        help="default: paper; several give the gallery several columns",
    )
    parser.add_argument(
        "--image-size", type=int, default=256, help="side that images are resized to (default 256)"
    )
    parser.add_argument(
        "--masks",
        type=Path,
        metavar="PATH",
        help="where to paste, in place of the built-in lung segmentation: a folder of PNG masks with the "
        "images' relative names, or one .npz or .safetensors file of them",
    )
    parser.add_argument("--copies", type=int, default=1, help="augmented copies of each image (default 1)")
    parser.add_argument("--rows", type=int, default=4, help="images in the gallery (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default 0)")
    add_corners_option(parser, "every image before it is augmented")
    return parser
