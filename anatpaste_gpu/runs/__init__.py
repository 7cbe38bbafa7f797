"""A run from outside: its config, folder, records, checkpoints and ensembles; nobody else knows its files."""

from typing import TYPE_CHECKING

from anatpaste_gpu.extras import TRAINING, require

require("anatpaste_gpu.runs", "train", *TRAINING)

from anatpaste_gpu.lazy import lazy_names
from anatpaste_gpu.runs.config import Place, TrainConfig
from anatpaste_gpu.runs.folder import RunFolder, SeedsFolder

if TYPE_CHECKING:
    from anatpaste_gpu.runs.records import Run, ScoredImage, load_runs
else:
    # Finished runs are compared by statistics of SciPy, which takes long to import; scoring needs none of it.
    __getattr__, __dir__ = lazy_names(__name__, dict.fromkeys(("Run", "ScoredImage", "load_runs"), "records"))

__all__ = ["Place", "Run", "RunFolder", "ScoredImage", "SeedsFolder", "TrainConfig", "load_runs"]
