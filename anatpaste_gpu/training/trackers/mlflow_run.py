"""Scalars in MLflow: a server's where MLFLOW_TRACKING_URI names one, else a file of the working folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anatpaste_gpu.training.trackers.identity import Identity

#: MLflow's own default, which `mlflow ui` shows.
LOCAL_FILE = "mlflow.db"
EXPERIMENT = "anatpaste_gpu"
# MLflow's clients hand over at most so many in a request.
_PARAMETERS_AT_ONCE = 100
# Without these a machine without a network waits for minutes, and MLflow tells its makers of its use.
_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_DISABLE_TELEMETRY": "true"}


class MlflowTracker:
    """One run of MLflow; a continued one goes on in it.

    Args:
        identity: keeps its id and, without MLFLOW_TRACKING_URI, its file.
        folder: the run's, whose name is the run's.
        parameters: of the run.
    """

    def __init__(self, identity: Identity, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._identity, self._name, self._parameters = identity, folder.name, parameters
        # As it is now: the thread may come to it when the working folder is another.
        self._own = f"sqlite:///{Path(LOCAL_FILE).absolute()}"
        self._client: Any = None
        self._run = ""

    def begin(self, first: int) -> None:
        """Finds the run again, or makes one with its parameters.

        Raises:
            Exception: whatever the server, or the way to it, leads to.
        """
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        kept = self._identity.read()
        server = os.environ.get("MLFLOW_TRACKING_URI")
        place = server or kept.get("file") or self._own
        self._client = MlflowClient(tracking_uri=place)
        if "run" in kept and first:
            try:
                self._client.update_run(kept["run"], status="RUNNING")
            except MlflowException:  # of another server, or deleted there
                pass
            else:
                self._run = kept["run"]
                return
        self._run = self._client.create_run(self._experiment(), run_name=self._name).info.run_id
        self._identity.keep(run=self._run, **({} if server else {"file": place}))
        self._tell_parameters()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs metrics; raises as `begin` does."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def end(self, finished: bool) -> None:
        """Says how it ended; raises as `begin` does."""
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _tell_parameters(self) -> None:
        from mlflow.entities import Param

        all_of_them = [Param(name, str(value)) for name, value in self._parameters.items()]
        for start in range(0, len(all_of_them), _PARAMETERS_AT_ONCE):
            self._client.log_batch(self._run, params=all_of_them[start : start + _PARAMETERS_AT_ONCE])
