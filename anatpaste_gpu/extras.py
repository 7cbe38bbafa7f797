"""Optional extras: what the features above the core need, and the one sentence where it is missing."""

from __future__ import annotations

import importlib.util

_DATA = ("PIL", "rich", "safetensors")
#: What runs and training need below the command line.
TRAINING = (*_DATA, "scipy", "yaml")
_TRAIN = (*TRAINING, "jsonargparse")
#: Extra -> modules without which nothing of it works. What a single feature needs, pydicom for a DICOM file
#: say, is asked for where that feature is.
MODULES = {
    "data": _DATA,
    "train": _TRAIN,
    "report": (*_TRAIN, "jinja2", "markupsafe", "matplotlib"),
    "serve": (*_TRAIN, "fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "export": (*_TRAIN, "onnx", "onnxruntime", "onnxscript"),
    "ray": (*_TRAIN, "pyarrow", "ray"),
    "openvino": (*_TRAIN, "onnx", "onnxruntime", "onnxscript", "openvino"),
    "dicom-out": (*_TRAIN, "pydicom", "highdicom"),
    "mlflow": (*_TRAIN, "mlflow", "sqlalchemy", "alembic"),
    "wandb": (*_TRAIN, "wandb"),
}
#: Modules whose package has another name.
PACKAGES = {
    "PIL": "pillow",
    "mlflow": "mlflow-skinny",
    "prometheus_client": "prometheus-client",
    "python_multipart": "python-multipart",
    "pytorch_grad_cam": "grad-cam",
    "yaml": "pyyaml",
}


class MissingExtra(ModuleNotFoundError):
    """A feature was asked for whose extra is not installed."""


def require(feature: str, extra: str, *modules: str) -> None:
    """Checks that a feature's packages are installed; imports none of them.

    Args:
        feature: what was asked for, as the sentence begins.
        extra: the extra that brings them.
        modules: what is imported, in place of all `MODULES` of the extra.

    Raises:
        MissingExtra: one is not installed; the sentence names the feature, the package and the extra.
    """
    for module in modules or MODULES[extra]:
        if importlib.util.find_spec(module) is None:
            package = PACKAGES.get(module, module)
            raise MissingExtra(
                f"{feature} needs {package}, which is not installed; "
                f'pip install "anatpaste_gpu[{extra}]" brings it.',
                name=module,
            )
