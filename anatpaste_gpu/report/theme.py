"""Matplotlib figures as SVG that takes its colours from the page: readable in light, dark and print."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from anatpaste_gpu.report.score_plots import ABNORMAL_COLOUR, NORMAL_COLOUR

# A colour that no figure uses itself; the page's own text colour takes its place.
_TEXT = "#010203"
_PAGE_COLOURS = {_TEXT: "currentColor", NORMAL_COLOUR: "var(--normal)", ABNORMAL_COLOUR: "var(--abnormal)"}
_SETTINGS: dict[Any, Any] = {
    **{f"{name}.color": _TEXT for name in ("text", "xtick", "ytick")},
    **{f"axes.{name}color": _TEXT for name in ("edge", "label")},
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
}
_IDENTIFIER = re.compile(r'(\bid="|url\(#|xlink:href="#)')


def plot_svg(draw: Callable[[], Figure], name: str, description: str) -> Markup:
    """Draws with the page's colours; the markup goes into HTML as it is.

    Args:
        draw: makes the figure; called while the settings are in force.
        name: prefix of every identifier, so that two figures on one page do not share any.
        description: what a screen reader says.
    """
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        buffer = io.StringIO()
        draw().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    body = text[text.index("<svg ") :]
    for colour, own in _PAGE_COLOURS.items():
        body = body.replace(colour.lower(), own)
    body = _IDENTIFIER.sub(rf"\g<1>{name}-", body)
    head, rest = body.split(">", 1)
    # The view box stays, so that the page decides on the size.
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return Markup("{} role='img' aria-label='{}'>{}").format(Markup(head), description, Markup(rest))
