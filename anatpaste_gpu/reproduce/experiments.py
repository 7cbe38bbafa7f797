"""What the paper's tables compare, as runs to be made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from anatpaste_gpu.methods import get_method, method_names
from anatpaste_gpu.reproduce.published import PUBLISHED, SYSTEMS, Key, Published
from anatpaste_gpu.runs import TrainConfig

#: The method that the others are compared with.
FULL_METHOD = "anatpaste"
#: In the order in which the paper names them.
_DATASETS = ("zhanglab", "chexpert", "rsna")


@dataclasses.dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Attributes:
        number: 1, 2 or 3.
        title: what it shows.
        datasets: its data sets; others can be asked for.
        systems: what the paper compares in it, in the order of its rows.
        others: whether methods that are not the paper's are in it too.
        by_finding: whether it shows findings apart.
        ensembles: whether it shows what several seeds' mean scores give.
    """

    number: int
    title: str
    datasets: tuple[str, ...]
    systems: tuple[str, ...]
    others: bool = True
    by_finding: bool = False
    ensembles: bool = False

    @property
    def name(self) -> str:
        """As the paper numbers it."""
        return f"Table {'I' * self.number}"

    @property
    def methods(self) -> tuple[str, ...]:
        """What can be run of it: the paper's systems that are methods here, then the other methods."""
        known = method_names()
        rows = (*self.systems, *(known if self.others else ()))
        return tuple(name for name in dict.fromkeys(rows) if name in known)

    def published(self) -> dict[Key, Published]:
        """The paper's figures that belong in it."""
        return {
            key: figure
            for key, figure in PUBLISHED.items()
            if key.dataset in self.datasets
            and key.method in self.systems
            and (self.by_finding or not key.finding)
            and (self.ensembles or not key.metric.startswith("ensemble_"))
        }


#: The paper's tables by number.
TABLES = {
    1: Table(1, "methods on the paper's data sets", _DATASETS, tuple(SYSTEMS), ensembles=True),
    # Zhanglab names no finding but pneumonia.
    2: Table(
        2,
        "AUC of each finding's images against all normal ones",
        _DATASETS[1:],
        (FULL_METHOD,),
        by_finding=True,
    ),
    3: Table(
        3,
        "what segmentation and blur contribute",
        _DATASETS,
        (FULL_METHOD, "anatpaste-no-segmentation", "anatpaste-no-blur"),
        others=False,
    ),
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
    own: Mapping[str, TrainConfig] | None = None,
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
        own: method -> budget, place and weights of its runs, in place of `base`, whose weights are for none.

    Returns:
        Configs, and a sentence for each method that is left out because it needs weights and has none.

    Raises:
        ValueError: a name or a seed is wrong.
    """
    given = base.recipe.split_seed
    split = seeds[0] if given is None else given
    budgets = {name: (own or {}).get(name, base) for name in methods}
    brought = {name: budgets[name].recipe.network.weights for name in own or {} if name in budgets}
    needing = [name for name in methods if get_method(name).weights == "required"]
    left_out = [name for name in needing if not (weights or brought.get(name))]
    configs = [
        budgets[method].replace(
            dataset=dataset,
            method=method,
            seed=seed,
            split_seed=given if seed == seeds[0] else split,
            data_root=roots.get(dataset),
            weights=(weights if method in needing else None) or brought.get(method),
            output=str(folder / f"{dataset}-{method}-seed{seed}"),
            overwrite=False,
        )
        for dataset in dict.fromkeys(datasets)
        for seed in dict.fromkeys(seeds)
        for method in dict.fromkeys(methods)
        if method not in left_out
    ]
    return configs, [f"method {name}: it needs --weights FILE." for name in left_out]
