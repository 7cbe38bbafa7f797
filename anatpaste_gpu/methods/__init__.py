"""Methods by name: what `--method` chooses between."""

from anatpaste_gpu.methods.method import Method
from anatpaste_gpu.methods.registry import get_method, method_names

__all__ = ["Method", "get_method", "method_names"]
