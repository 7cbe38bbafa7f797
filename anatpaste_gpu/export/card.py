"""A model card beside an exported file: what it is for and made of, how good it is, how to run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anatpaste_gpu
from anatpaste_gpu.data.licences import data_licence
from anatpaste_gpu.export.card_record import evaluated, sources
from anatpaste_gpu.export.files import Exported
from anatpaste_gpu.export.formats import FORMATS
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs.records import Run

#: The second line of every card, by which it is told from a file of somebody's own.
MARK = "<!-- model card of anatpaste_gpu; the export that wrote it writes it anew -->"


def card_path(exported: Path) -> Path:
    """Where the card of an exported file is: beside it, with the suffix .md."""
    return exported.with_suffix(".md")


def check_card(exported: Path) -> None:
    """Refuses to write a card over a file that is none.

    Raises:
        ValueError: there is such a file; one sentence.
    """
    path = card_path(exported)
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace").splitlines()[:2]:
        raise ValueError(
            f"{path} is there and is no model card of ours; choose another name for {exported.name}, or "
            "leave the card out (--no-card)."
        )


def write_card(detector: Detector, exported: Exported, record: Run | None) -> Path:
    """Writes the card of an exported file; equal exports of equal runs have equal cards.

    Args:
        detector: that was exported.
        exported: what `export_detector` returned.
        record: of the finished run that it is of; None where it is not at hand.

    Returns:
        Its path.

    Raises:
        ValueError: another file is there.
    """
    check_card(exported.path)
    path = card_path(exported.path)
    write_atomically(path, "\n".join(_lines(detector, exported, record)) + "\n")
    return path


def _lines(detector: Detector, exported: Exported, record: Run | None) -> Iterator[str]:
    """The card, line by line; it names files, and no folder."""
    yield f"# Model card: {exported.path.name}"
    yield MARK
    yield from ("", f"**{NOT_FOR_CLINICAL_USE}**", "")
    yield from _what(detector, exported)
    yield from _use()
    yield from sources(detector, record)
    yield from evaluated(detector, record)
    yield from _difference(exported)
    yield from _thresholds(detector)
    yield from _how_to_run(exported)
    yield from _limits(record)


def _what(detector: Detector, exported: Exported) -> Iterator[str]:
    recipe = detector.learner.recipe
    yield from ("## What it is", "")
    yield (
        "An anomaly detector that was fitted to normal images alone: it scores how unlike them an image is. "
        "The file holds everything from the pixels to the decision."
    )
    rows = {
        "format": FORMATS[exported.path.suffix.lower()].title,
        "precision": exported.metadata["precision"],
        "method": f"`{recipe.method}`",
        "backbone": f"`{recipe.network.backbone}`",
        "recipe": f"`{detector.recipe_hash}` (SHA-256)",
        "made by": f"anatpaste_gpu {anatpaste_gpu.__version__}, Apache-2.0",
        "input": f"`images`: grey, uint8 (B, 1, H, W), of any size; resized to {detector.image_size} inside",
        "outputs": ", ".join(f"`{name}`" for name in exported.outputs),
    }
    yield from ("", "| | |", "| --- | --- |")
    yield from (f"| {name} | {value} |" for name, value in rows.items())
    if exported.why_no_map is not None:
        yield from ("", f"There is no `anomaly_map`: {exported.why_no_map}")
    yield ""


def _use() -> Iterator[str]:
    yield from ("## What it is for", "")
    yield (
        "- For research on anomaly detection: ranking images of the kind that it was fitted to by how "
        "unusual they are, and comparing methods."
    )
    yield (
        "- Not for diagnosis, triage, or any decision about a patient. It is no medical device, and nobody "
        "has approved it as one."
    )
    yield (
        "- Not for other organs, projections or ages than those that it was fitted to: whatever is unlike "
        "them is scored as abnormal."
    )
    yield ""


def _difference(exported: Exported) -> Iterator[str]:
    found = exported.measured
    yield from ("## How this file differs from its detector", "")
    if found is None:
        yield from ("Not measured when it was written (`--check` of `anatpaste export` does).", "")
        return
    line = (
        f"On {found.images} validation images scores differ by at most {found.largest:.1e} of their spread, "
        f"and {found.decisions} decisions"
    )
    if found.auc_change is not None:
        line += f"; its AUC there is {found.exported_auc:.4f} ({found.auc_change:+.4f})"
    yield from (f"{line}.", "")


def _thresholds(detector: Detector) -> Iterator[str]:
    calibration = detector.calibration
    assert calibration is not None, "a detector without is not exported"
    rows = {
        "an image is called abnormal from": calibration.threshold,
        "95 % of the normal validation images lie below": calibration.normal_threshold,
        "lowest validation score, `normalised_score` 0": calibration.minimum,
        "highest validation score, `normalised_score` 1": calibration.maximum,
    }
    yield from ("## Thresholds", "", "| | `pred_score` | `normalised_score` |", "| --- | ---: | ---: |")
    for name, value in rows.items():
        if value is not None:
            yield f"| {name} | {value:.6g} | {float(calibration.normalise(value)):.4f} |"
    yield from ("", "Another population needs a threshold of its own, from normal images of its own.", "")


_RUNS = {
    ".onnx": (
        "import onnxruntime",
        'session = onnxruntime.InferenceSession("{name}")',
        'scores, abnormal = session.run(["pred_score", "pred_label"], {{"images": pixels[None, None]}})',
    ),
    ".xml": (
        "import openvino  # {stem}.bin has to be beside {name}",
        'compiled = openvino.Core().compile_model("{name}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})',
        'abnormal = compiled(pixels[None, None])["pred_label"]',
    ),
    ".pt2": (
        "import torch",
        'module = torch.export.load("{name}").module()',
        'abnormal = module(torch.from_numpy(pixels)[None, None])["pred_label"]',
    ),
}


def _how_to_run(exported: Exported) -> Iterator[str]:
    yield from ("## How to run it", "", "`pixels` is a grey image, uint8 (H, W):", "", "```python")
    name, stem = exported.path.name, exported.path.stem
    yield from (line.format(name=name, stem=stem) for line in _RUNS[exported.path.suffix.lower()])
    yield from ("```", "")
    yield (
        "Colour is turned grey before (ITU-R 601), 16 bits are scaled to 8, and a DICOM window is applied, "
        "as `anatpaste_gpu.data.read_image` does."
    )
    yield ""


def _limits(record: Run | None) -> Iterator[str]:
    yield from ("## Limits", "")
    yield (
        "- Validation and test images are of the same source as the training images. Elsewhere - other "
        "devices, another population - expect less, and measure."
    )
    yield "- An unusual image is not a diseased one, and disease that changes little is missed."
    yield "- Nothing is known here of how well it does by sex, age or origin."
    terms = None if record is None else data_licence(str(record.metrics["dataset"])).terms
    if terms is not None:
        yield f"- Terms of the data that it was fitted to: {terms}"
