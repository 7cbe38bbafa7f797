"""Draws docs/report.png: the top of the report's page of a run on phantoms, as a browser shows it."""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import load_runs

from . import REPOSITORY

OUTPUT = REPOSITORY / "docs" / "report.png"
SIZE = (1240, 1500)
COLOURS = 128  # enough for grey pictures and a few hues, and a third of the bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "run", type=Path, nargs="?", default=Path("runs/demo"), help="default: that of make demo"
    )
    run = parser.parse_args().run
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium here: apt-get install chromium")
    runs = load_runs([run])
    if runs[0].metrics["dataset"] != "demo":
        raise SystemExit(f"{run} is not of phantoms; pictures of patients do not belong in a repository.")
    with tempfile.TemporaryDirectory() as name:
        page, shot = Path(name) / "report.html", Path(name) / "report.png"
        write_report(runs, page)
        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--virtual-time-budget=5000",
        )
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        command = [
            browser,
            *flags,
            f"--user-data-dir={name}/profile",
            size,
            f"--screenshot={shot}",
            page.as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        picture = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB").quantize(COLOURS)
    picture.save(OUTPUT, optimize=True)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
