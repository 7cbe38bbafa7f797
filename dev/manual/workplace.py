"""Where blocks of the tutorial are executed, and what they make for readers."""

from __future__ import annotations

from dev import REPOSITORY

#: The working folder of every executed block, empty when a build begins.
FOLDER = REPOSITORY / "build" / "manual"
#: Files of it that pages link to; they come into the site's root.
PUBLISHED = ("report.html",)
