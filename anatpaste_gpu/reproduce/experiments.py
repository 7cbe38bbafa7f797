"""What the paper's tables compare, as runs to be made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from anatpaste_gpu.methods import get_method, method_names
from anatpaste_gpu.runs import TrainConfig

#: The method that the others are compared with.
FULL_METHOD = "anatpaste"
_ABLATIONS = tuple(name for name in method_names() if name.startswith(FULL_METHOD))
#: In the order in which the paper names them.
_DATASETS = ("zhanglab", "chexpert", "rsna")


@dataclasses.dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
        number: 1, 2 or 3.
        title: what it shows.
        datasets: its data sets; others can be asked for.
        methods: its methods, in the order of its rows.
    """

    number: int
    title: str
    datasets: tuple[str, ...]
    methods: tuple[str, ...]

    @property
    def name(self) -> str:
        """As the paper numbers it."""
        return f"Table {'I' * self.number}"


TABLES = {
    1: Table(1, "methods on the paper's data sets", _DATASETS, method_names()),
    # Zhanglab names no finding but pneumonia.
    2: Table(2, "AUC of each finding's images against all normal ones", _DATASETS[1:], method_names()),
    3: Table(3, "what segmentation and blur contribute", _DATASETS, _ABLATIONS),
}


def plan_runs(
    base: TrainConfig,
    folder: Path,
    datasets: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    *,
    roots: Mapping[str, str],
    weights: str | None = None,
) -> tuple[list[TrainConfig], list[str]]:
    """The runs of a table; all seeds share the split that the first one draws, and so can be averaged.

    Runs of one data set follow each other, so that its images are read once.

    Args:
        base: budget and place of every run.
        folder: run folders go below it; tables that share runs share their folders.
        datasets: names.
        methods: names.
        seeds: at least one; each makes a run.
        roots: data set -> its folder.
        weights: file for the methods that need one.

    Returns:
        Configs, and a sentence for each method that is left out because it needs weights.

    Raises:
        ValueError: a name or a seed is wrong.
    """
    given = base.recipe.split_seed
    split = seeds[0] if given is None else given
    needing = [name for name in methods if get_method(name).weights == "required"]
    left_out = [] if weights else needing
    configs = [
        base.replace(
            dataset=dataset,
            method=method,
            seed=seed,
            split_seed=given if seed == seeds[0] else split,
            data_root=roots.get(dataset),
            weights=weights if method in needing else None,
            output=str(folder / f"{dataset}-{method}-seed{seed}"),
            overwrite=False,
        )
        for dataset in dict.fromkeys(datasets)
        for seed in dict.fromkeys(seeds)
        for method in dict.fromkeys(methods)
        if method not in left_out
    ]
    return configs, [f"method {name}: it needs --weights FILE." for name in left_out]
