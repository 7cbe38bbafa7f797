"""Every picture of the package: of runs while they are made, and of finished ones on one page."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.report", "report")

from anatpaste_gpu.report.run_pictures import RunPictures

__all__ = ["RunPictures"]
