"""The trackers of one run: opened by name, told the same scalars, and never a reason to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from anatpaste_gpu.extras import MODULES, require
from anatpaste_gpu.methods.lookup import recipe_to_dict
from anatpaste_gpu.runs import RunFolder, TrainConfig
from anatpaste_gpu.runs.checkpoint import Progress
from anatpaste_gpu.training.trackers.background import Background, Tracker, why
from anatpaste_gpu.training.trackers.csv_file import CsvTracker
from anatpaste_gpu.training.trackers.identity import Identity
from anatpaste_gpu.training.trackers.mlflow_run import MlflowTracker
from anatpaste_gpu.training.trackers.wandb_run import WandbTracker


def check_trackers(config: TrainConfig) -> None:
    """Looks before any work whether what the asked trackers need is there.

    Args:
        config: of the run.

    Raises:
        MissingExtra: a package is not installed.
    """
    for name in config.place.trackers:
        if name in MODULES:
            require(f"--tracker {name}", name)


class Trackers:
    """Tells a run's scalars to the trackers that its config names.

    One that fails is left out from then on, with one sentence: a run does not end for a tracker, nor wait for
    a network, as each but the file has a thread of its own.

    Args:
        config: of the run; its recipe is what trackers call parameters, without the names of files.
        folder: of the run; it holds the CSV file, and which tracked runs are its own.
        say: shows a line.
    """

    def __init__(self, config: TrainConfig, folder: RunFolder, say: Callable[[str], None]) -> None:
        self._say = say
        self._open: dict[str, Tracker] = {}
        for name in config.place.trackers:
            if name == "csv":
                self._open[name] = CsvTracker(folder.scalars)
                continue
            identity = Identity(folder.trackers, name)
            kind = MlflowTracker if name == "mlflow" else WandbTracker
            made = kind(identity, folder.path, parameters(config))
            self._open[name] = Background(name, made, say)

    def begin(self, progress: Progress) -> None:
        """Starts the tracked runs, or goes on with those of an interrupted run.

        Args:
            progress: of the run; what was told of later steps, before a kill, is void.
        """
        self._each(lambda tracker: tracker.begin(progress.first_to_log))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Tells scalars by their TensorBoard names."""
        self._each(lambda tracker: tracker.scalars(step, values))

    def end(self, *, finished: bool) -> None:
        """Ends them; an unfinished run may go on with them later."""
        self._each(lambda tracker: tracker.end(finished))
        self._open = {}

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            try:
                tell(tracker)
            except OSError as error:
                self._say(f"--tracker {name} ends here ({why(error)}); the run goes on without it.")
                del self._open[name]
                with contextlib.suppress(OSError):
                    tracker.end(False)


def parameters(config: TrainConfig) -> dict[str, Any]:
    """A run's recipe as trackers take parameters: plain values, names of inner ones with a dot between."""
    recipe = recipe_to_dict(config.recipe.without_files())
    return {**_flat(recipe), "recipe_hash": config.recipe_hash()}


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in content.items():
        found.update(
            _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
        )
    return found
