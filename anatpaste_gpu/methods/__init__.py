"""Methods: each owns its networks, losses, optimisers, fitting and score; docs/contributing.md adds one."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.methods", "train", "safetensors")

from anatpaste_gpu.methods import registry as registry  # fills the look-up
from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.methods.lookup import get_method, method_names, register
from anatpaste_gpu.methods.protocol import Batch, Learner, Method, State
from anatpaste_gpu.methods.recipe import Recipe

__all__ = [
    "Batch",
    "Detector",
    "Learner",
    "Method",
    "Recipe",
    "State",
    "get_method",
    "method_names",
    "register",
]
