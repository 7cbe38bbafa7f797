"""Scalars in Weights & Biases: files in the run's folder, and the service where the user is logged in."""

from __future__ import annotations

import netrc
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from anatpaste_gpu.training.trackers.identity import Identity

PROJECT = "anatpaste_gpu"
_SERVICE = "https://api.wandb.ai"
_KEYS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


class WandbTracker:
    """One run of W&B; a continued one goes on in it, by its id.

    It gets the scalars and the recipe: neither the command line, nor the code, nor what it could find out
    about machine and user.

    Args:
        identity: keeps its id.
        folder: the run's, whose name is the run's; it gets a folder `wandb`.
        parameters: of the run.
    """

    def __init__(self, identity: Identity, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._identity, self._folder, self._parameters = identity, folder, parameters
        self._run: Any = None

    def begin(self, first: int) -> None:
        """Starts the run, or goes on with it.

        Raises:
            Exception: whatever the service, or the way to it, leads to.
        """
        import wandb

        own = self._identity.read().get("run") if first else None
        if own is None:
            own = uuid.uuid4().hex
            self._identity.keep(run=own)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=own,
            name=self._folder.name,
            resume="allow",
            mode=cast("Any", mode()),  # a word of the user's, which W&B checks
            dir=str(self._folder),
            config=dict(self._parameters),
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
                host="",
            ),
        )
        # Its own steps must not go back, as those of a killed run do.
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs them; raises as `begin` does."""
        self._run.log({"step": step, **values})

    def end(self, finished: bool) -> None:
        """Closes the run; raises as `begin` does."""
        self._run.finish(exit_code=0 if finished else 1)


def mode() -> str:
    """WANDB_MODE, else "online" where the user is logged in, else "offline"."""
    return os.environ.get("WANDB_MODE") or ("online" if _is_logged_in() else "offline")


def _is_logged_in() -> bool:
    """Whether `wandb login` has left its line, or the environment has a key; nothing is asked of anybody."""
    if any(os.environ.get(name) for name in _KEYS):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _SERVICE)).hostname or ""
    file = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
