"""What a training run shows: lines on the console, a progress bar, scalars for TensorBoard and trackers."""

from __future__ import annotations

import contextlib
import statistics
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import Self

from anatpaste_gpu.data.progress import shows_bars
from anatpaste_gpu.methods.protocol import Phase
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs.checkpoint import Progress as RunProgress
from anatpaste_gpu.standard_streams import lasting
from anatpaste_gpu.training.trackers import Trackers


def standard_console() -> Console:
    """Standard output; a run goes on without it where its reader leaves or its disk is full."""
    return Console(file=lasting(sys.stdout))


def print_line(console: Console, text: str) -> None:
    """A line as it is, however long."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


# What a record of an epoch holds beside the means of its figures.
_NOT_LEARNT = ("epoch", "phase", "learning_rate")


class Display:
    """Console and TensorBoard of one run; a context manager.

    The bar is drawn on terminals and in notebooks only; the lines always, so that a log file holds them.

    Args:
        console: where lines go.
        tensorboard: folder for TensorBoard's event file.
        total_steps: steps of the whole run.
        steps_per_epoch: steps an epoch.
    """

    def __init__(self, console: Console, tensorboard: Path, total_steps: int, steps_per_epoch: int) -> None:
        self._console = console
        self._folder = tensorboard
        self._total = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._writer: Any = None  # a SummaryWriter
        self._trackers: Trackers | None = None
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not shows_bars(console))
        self._task = self._bar.add_task("training", total=total_steps)

    def __enter__(self) -> Self:
        self._bar.start()
        self._thread_hook = threading.excepthook
        threading.excepthook = self._leave_out_log_errors
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if self._trackers is not None:
            self._trackers.end(finished=kind is None)
        if self._writer is not None:
            with contextlib.suppress(OSError):  # said already, or the disk is full at the very end
                self._writer.close()
        threading.excepthook = self._thread_hook

    def open_log(self, progress: RunProgress, trackers: Trackers | None = None) -> None:
        """Starts the log of a run, or goes on with it; what a killed run logged beyond its state is void.

        Args:
            progress: the state that the run goes on from.
            trackers: get the scalars beside TensorBoard.
        """
        self._trackers = trackers
        if trackers is not None:
            trackers.begin(progress)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError:
            self.line("There is no log for TensorBoard: pip install 'anatpaste_gpu[train]' brings it.")
            return
        self._writer = SummaryWriter(str(self._folder), purge_step=progress.first_to_log)

    def track(self, numbers: Iterable[int], text: str) -> Iterable[int]:
        """Passes numbers through; on a terminal a bar shows how far they are."""
        total = len(numbers) if isinstance(numbers, Sized) else None
        task = self._bar.add_task(text, total=total)
        yield from self._bar.track(numbers, task_id=task)
        self._bar.remove_task(task)

    def advance(self, step: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=step)

    def log(
        self,
        *,
        step: int,
        metrics: Mapping[str, float],
        phase: Phase | None = None,
        learning_rate: float,
        images: int,
        step_ms: Sequence[float],
        augmentation_ms: Sequence[float],
        memory: int,
    ) -> None:
        """One dense line about the steps since the last one, and TensorBoard's training scalars.

        Args:
            step: steps done.
            metrics: means over the steps by name, the loss first.
            phase: that the steps belong to, or None.
            learning_rate: of the last step.
            images: images and twins a step.
            step_ms: of each step, its input included.
            augmentation_ms: of as many steps as are known; within a CUDA graph it cannot be told.
            memory: bytes at the peak.
        """
        median = statistics.median(step_ms)
        rate = images * 1000 * len(step_ms) / sum(step_ms)
        times = {"time/step_ms": median, "time/images_per_second": rate}
        share = ""
        if augmentation_ms:
            augmentation = statistics.median(augmentation_ms)
            times["time/augmentation_ms"] = augmentation
            share = f", {augmentation:.1f} ({augmentation / median:.1%}) of them augmentation"
        part = "" if phase is None else f"{phase.name} | "
        self.line(
            f"step {step}/{self._total} | {part}{_listed(metrics)} | "
            f"lr {learning_rate:.5f} | {rate:.0f} images/s | {median:.0f} ms a step{share} | "
            f"{memory / 2**20:.0f} MiB"
        )
        learnt = {f"train/{name}": value for name, value in metrics.items()}
        learnt["train/learning_rate"] = learning_rate
        self._scalars(step, {**learnt, **times})

    def epoch(self, record: Mapping[str, Any]) -> None:
        """TensorBoard's scalars of a finished epoch."""
        step = int(record["epoch"]) * self._steps_per_epoch
        own = {name: value for name, value in record.items() if name not in _NOT_LEARNT}
        self._scalars(step, {f"epoch/{name}": value for name, value in own.items()})

    def validation(self, epochs_done: int, auc: float) -> None:
        """The AUC of a validation."""
        trained = f"after epoch {epochs_done}" if epochs_done else "untrained"
        self.line(f"validation AUC {auc:.4f} ({trained}) | {NOT_FOR_CLINICAL_USE}")
        self._scalars(epochs_done * self._steps_per_epoch, {"validation/auc": auc})

    def line(self, text: str) -> None:
        """Prints a line above the bar, unwrapped."""
        print_line(self._console, text)

    def _scalars(self, step: int, values: dict[str, float]) -> None:
        if self._trackers is not None:
            self._trackers.scalars(step, values)
        if self._writer is None:
            return
        try:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        except OSError as error:  # no reason to stop a run
            self._writer = None
            self.line(f"TensorBoard's log ends here: {error}.")

    def _leave_out_log_errors(self, failure: threading.ExceptHookArgs) -> None:
        """Keeps a traceback out of sight: TensorBoard's thread hands its error to the next `add_scalar`."""
        if self._writer is None or not isinstance(failure.exc_value, OSError):
            self._thread_hook(failure)


def _listed(metrics: Mapping[str, float]) -> str:
    """ "loss 0.6931 | accuracy 50.0%"."""
    shown = {"accuracy": ".1%"}
    return " | ".join(f"{name} {value:{shown.get(name, '.4f')}}" for name, value in metrics.items())


def result_lines(metrics: Mapping[str, Any], timing: Mapping[str, float]) -> tuple[str, str]:
    """What a finished run says: the test set's figures with what was trained, and the notice."""
    trained = "nothing was trained"
    if "step_ms" in timing:
        trained = f"best of epoch {metrics['training']['best_epoch']} | {timing['step_ms']:.0f} ms a step"
        if "augmentation_ms_per_step" in timing:
            trained += f", {timing['augmentation_ms_per_step']:.1f} of them augmentation"
    return f"{_shown(metrics['test'])} | {trained}", NOT_FOR_CLINICAL_USE


def _shown(test: Mapping[str, Any]) -> str:
    """The test set's figures in a line; what it has no images for is said and not shown."""
    if test["auc"] is None:
        share, count = test["specificity"], test["normal"]
        return f"test: {share:.1%} of {count} normal images called normal; {test['why_null']}"
    area = f"test AUC {test['auc']:.4f}"
    if test["auc_interval"] is not None:
        area += " (95 % interval {:.4f} to {:.4f})".format(*test["auc_interval"])
    return f"{area} | accuracy {test['accuracy']:.4f} | F1 {test['f1']:.4f}"
