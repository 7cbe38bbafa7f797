"""The roofline plot: warp instructions a DRAM byte against warp instructions a second."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from .device import Device
from .evaluate import OpRow

MARKERS = {"64 x 256^2": "o", "64 x 512^2": "s", "16 x 1024^2": "^"}
COLOURS = {
    "segment_lungs": "tab:blue",
    "anat_paste": "tab:orange",
    "cut_paste": "tab:purple",
    "image_jitter": "tab:green",
}


def draw(rows: list[OpRow], device: Device, path: Path) -> None:
    """Writes the PNG. A point an op and batch; a faint one a kernel of those that take several."""
    figure, axes = plt.subplots(figsize=(9, 6), dpi=130)
    issue = device["multiprocessors"] * device["schedulers"] * device["clock"]
    shared = device["multiprocessors"] * device["clock"] / device["pass_clocks"]
    bytes_axis = np.logspace(-2, 2, 400)
    axes.plot(bytes_axis, np.minimum(bytes_axis * device["dram"], issue) / 1e9, color="black", lw=1.6)
    axes.axhline(shared / 1e9, color="grey", ls="--", lw=1)
    right, left = 90, 0.01
    axes.text(
        right, issue / 1e9 * 1.06, f"issue: {issue / 1e9:.0f} G warp instructions/s", ha="right", va="bottom"
    )
    axes.text(
        right,
        shared / 1e9 * 0.94,
        f"one shared-memory pass an instruction: {shared / 1e9:.0f} G/s",
        ha="right",
        va="top",
        color="grey",
    )
    axes.text(
        left * 1.3, left * device["dram"] / 1e9 * 1.75, f"DRAM: {device['dram'] / 1e9:.0f} GB/s", rotation=41
    )
    for row in rows:
        colour, marker = COLOURS[row.op], MARKERS.get(row.batch.name, "D")
        points = [
            (k.instructions / max(k.dram_bytes, 1), k.instructions / k.seconds / 1e9) for k in row.kernels
        ]
        if len(points) > 1:
            axes.scatter(
                [x for x, _ in points],
                [y for _, y in points],
                s=14,
                marker=marker,
                color=colour,
                alpha=0.35,
                lw=0,
            )
        instructions = sum(k.instructions for k in row.kernels)
        axes.scatter(
            instructions / row.dram_bytes,
            instructions / row.seconds / 1e9,
            s=90,
            marker=marker,
            color=colour,
            edgecolor="black",
            zorder=3,
            label=f"{row.op}, {row.batch.name.replace('^2', '²')}: {row.seconds * 1e3:.3f} ms",
        )
    axes.set(xscale="log", yscale="log", xlim=(left, 100), ylim=(5, 1100))
    axes.set_xlabel("warp instructions a byte of DRAM traffic")
    axes.set_ylabel("G warp instructions a second, modelled")
    axes.set_title("CUDA kernels on an RTX 3090: modelled, not measured (small: single kernels of an op)")
    axes.grid(True, which="both", lw=0.3, alpha=0.5)
    axes.legend(loc="lower right", fontsize=8, framealpha=0.95)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
