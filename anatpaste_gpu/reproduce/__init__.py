"""The paper's tables: which runs fill them, how they are made, and the figures read from their folders."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.reproduce", "train")

from anatpaste_gpu.reproduce.experiments import TABLES, Table, plan_runs
from anatpaste_gpu.reproduce.published import PUBLISHED, Key, Published
from anatpaste_gpu.reproduce.results import Record, read_records
from anatpaste_gpu.reproduce.work import Outcome, carry_out

__all__ = [
    "PUBLISHED",
    "TABLES",
    "Key",
    "Outcome",
    "Published",
    "Record",
    "Table",
    "carry_out",
    "plan_runs",
    "read_records",
]
