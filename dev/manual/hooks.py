"""What MkDocs calls while it builds the manual (`hooks` in mkdocs.yml)."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from dev import REPOSITORY
from dev.manual import links, reference, repository, workplace

# A warning of this logger is an error under --strict.
_log = logging.getLogger("mkdocs.plugins.manual")


def on_startup(*, command: str, dirty: bool) -> None:
    """Commands of executed blocks are those of this checkout and of this Python, in an empty folder."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    shutil.rmtree(workplace.FOLDER, ignore_errors=True)
    workplace.FOLDER.mkdir(parents=True)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Files of the repository that pages link to become files of the site."""
    for path in repository.linked_files(Path(config.docs_dir)):
        uri = repository.uri_of(path)
        files.append(File.generated(config, uri, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave the folder of pages lead to those files."""
    source = Path(page.file.abs_src_path or "")
    return repository.with_links_inside(markdown, source, page.file.src_uri, Path(config.docs_dir))


def on_post_build(*, config: MkDocsConfig) -> None:
    """What executed blocks made for readers is copied; then every link of every page is looked at."""
    site = Path(config.site_dir)
    for name in workplace.PUBLISHED:
        made = workplace.FOLDER / name
        if made.exists():
            shutil.copy2(made, site / name)
        else:
            _log.warning("no block made %s, which the tutorial shows.", name)
    found = links.look_at(site)
    for problem in found.problems:
        _log.warning(problem)
    for name in reference.missing(site):
        _log.warning("%s is public, and no page in docs/api describes it.", name)
    listed = REPOSITORY / "build" / "site-external-links.txt"
    listed.write_text("".join(f"{address}\n" for address in sorted(found.external)), encoding="utf-8")
    _log.info(
        "%d links within the site hold; %d others are listed in %s.", found.held, len(found.external), listed
    )
