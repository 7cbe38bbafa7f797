"""One feature of each extra, small, from end to end: python -m dev.floor_smoke EXTRA (for dev/floors.py)."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

RUN = Path(tempfile.gettempdir()) / "anatpaste-floor-run"
TINY = "--image-size 32 --batch-size 4 --epochs 1 --steps-per-epoch 2 --bootstrap-samples 100 --threads 1"


def core() -> None:
    """Compiled kernels, plain torch, the module and a scorer."""
    import numpy as np
    import torch

    import anatpaste_gpu

    images = torch.randint(0, 256, (4, 1, 64, 64), dtype=torch.uint8)
    native = anatpaste_gpu.batch_augment(images, seed=1, backend="native")
    portable = anatpaste_gpu.batch_augment(images, seed=1, backend="torch")
    # Rounding to bytes: backends agree to the last step, as the tests of anat_paste say.
    assert (native.int() - portable.int()).abs().max() <= 1
    assert anatpaste_gpu.AnatPaste(p=1.0)(images.float() / 255).shape == images.shape
    points = np.random.default_rng(0).normal(size=(50, 8))
    for scorer in (anatpaste_gpu.KernelDensity, anatpaste_gpu.Mahalanobis, anatpaste_gpu.NearestNeighbours):
        assert np.isfinite(scorer().fit(points).score_samples(points)).all()
    print(f"torch {torch.__version__}, numpy {np.__version__}; {cuda_kernels()}")


def cuda_kernels() -> str:
    """Loads `_CUDA`, built with the newest torch, and says so.

    Its CUDA may be another than this torch's, so that the package itself would leave it alone; but all that
    it wants of torch is looked up when it is loaded. CUDA's runtime is the one that dev/floors.py installed.
    """
    if importlib.util.find_spec("anatpaste_gpu._CUDA") is None:
        return "no CUDA kernels were built"
    for folder in map(Path, sys.path):
        for runtime in folder.glob("nvidia/cu*/lib/libcudart.so.*"):
            ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
    importlib.import_module("anatpaste_gpu._CUDA")
    return "the CUDA kernels load"


def data() -> None:
    """A DICOM and a PNG file."""
    from PIL import Image

    from anatpaste_gpu.data import load_dataset, read_image

    assert read_image(pydicom_sample("CT_small"), 64).shape == (1, 64, 64)
    with tempfile.TemporaryDirectory() as folder:
        Image.new("L", (80, 80), 7).save(Path(folder) / "image.png")
        assert (read_image(Path(folder) / "image.png", 64) == 7).all()
    load_dataset("demo", image_size=32, progress=False, train_size=4, validation_size=2, test_size=2)


def train() -> None:
    """Trains on phantoms and scores an image."""
    from PIL import Image

    words = ["train", "--dataset", "demo", "--preset", "smoke", "--gpu", "-1", *TINY.split()]
    command(*words, "--output", str(RUN), "--overwrite", "true")
    with tempfile.TemporaryDirectory() as folder:
        Image.new("L", (80, 80), 7).save(Path(folder) / "image.png")
        command("score", str(RUN), folder, "--gpu", "-1")


def report() -> None:
    """The page of a run with pictures, which Grad-CAM is one of."""
    train()
    command(
        "report", str(RUN), "-o", str(RUN / "page.html"), "--gpu", "-1", "--figures", str(RUN / "figures")
    )


def timm() -> None:
    """A backbone of timm's."""
    from anatpaste_gpu.methods.backbones import published_normalisation

    print(published_normalisation("timm/resnet10t"))
    words = ["train", "--dataset", "demo", "--preset", "smoke", "--gpu", "-1", *TINY.split()]
    command(*words, "--backbone", "timm/resnet10t", "--output", str(RUN), "--overwrite", "true")


def pretrained() -> None:
    """A memory of patches on the weights of the package."""
    words = ["train", "--dataset", "demo", "--method", "memory", "--gpu", "-1", "--bootstrap-samples", "100"]
    command(*words, "--image-size", "64", "--output", str(RUN), "--overwrite", "true")


def dicom() -> None:
    """Lossless JPEG, 12-bit JPEG and JPEG-LS within DICOM."""
    from anatpaste_gpu.data import read_image

    for name in ("SC_rgb_jpeg_gdcm", "JPGExtended", "MR_small_jpeg_ls_lossless"):
        assert read_image(pydicom_sample(name), 64).float().std() > 0


def export() -> None:
    """A detector as an ONNX file that ONNX Runtime scores with."""
    import numpy as np
    import onnxruntime

    train()
    command("export", str(RUN), "-o", str(RUN / "model.onnx"))
    session = onnxruntime.InferenceSession(RUN / "model.onnx")
    scores = session.run(["pred_score"], {"images": np.zeros((2, 1, 40, 50), np.uint8)})[0]
    assert np.isfinite(scores).all()


def openvino() -> None:
    """A detector as an OpenVINO file that OpenVINO scores with."""
    import numpy as np
    from openvino import Core

    train()
    command("export", str(RUN), "-o", str(RUN / "model.xml"))
    compiled = Core().compile_model(RUN / "model.xml", "CPU")
    assert np.isfinite(compiled(np.zeros((2, 1, 40, 50), np.uint8))["pred_score"]).all()


def serve() -> None:
    """A detector as a service: a form of one file, its score, and the end."""
    import re
    import signal
    import subprocess

    train()
    words = [sys.executable, "-m", "anatpaste_gpu.cli", "serve", str(RUN), "--gpu", "-1", "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"http://\S+/", line) for line in process.stderr)))
        _post_sample(found[0])
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 0


def _post_sample(address: str) -> None:
    import json
    import urllib.request

    content = pydicom_sample("CT_small").read_bytes()
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.dcm"\r\n\r\n'
    request = urllib.request.Request(
        f"{address}score",
        head + content + b"\r\n--b--\r\n",
        {"Content-Type": "multipart/form-data; boundary=b"},
    )
    with urllib.request.urlopen(request) as answer:
        assert "score" in json.load(answer)["images"][0]


def ray() -> None:
    """Two images, one of them broken, on a Ray of this machine."""
    import pyarrow.parquet as pq
    from PIL import Image

    train()
    with tempfile.TemporaryDirectory() as folder:
        Image.new("L", (80, 80), 7).save(Path(folder) / "image.png")
        (Path(folder) / "broken.png").write_bytes(b"")
        words = ["score", str(RUN), folder, "--gpu", "-1", "--engine", "ray", "-o", f"{folder}/scores"]
        command(*words, expected=3)
        errors = pq.read_table(f"{folder}/scores")["error"].to_pylist()
    assert [error is None for error in errors] == [False, True]


def cupy() -> None:
    """Without a GPU no more than that it can be imported."""
    import cupy

    print(f"cupy {cupy.__version__} imported; its arrays need a GPU")


def dicom_out() -> None:
    """A score as DICOM files."""
    train()
    with tempfile.TemporaryDirectory() as folder:
        words = ["--gpu", "-1", "--dicom-out", folder, "--output", str(RUN / "dicom.csv")]
        command("score", str(RUN), str(pydicom_sample("CT_small")), *words)
        assert list(Path(folder).glob("*.dcm"))


def mlflow() -> None:
    """A run that MLflow is told of, in a file."""
    _tracked("mlflow")


def wandb() -> None:
    """A run that W&B is told of, in files."""
    _tracked("wandb")


def _tracked(name: str) -> None:
    words = ["train", "--dataset", "demo", "--preset", "smoke", "--gpu", "-1", *TINY.split()]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where MLflow's file goes
        command(*words, "--tracker", name, "--output", f"{folder}/run", "--overwrite", "true")
        assert name in (Path(folder) / "run" / "trackers.json").read_text(encoding="utf-8")
        os.chdir("/")


def pydicom_sample(name: str) -> Path:
    """A file that comes with pydicom; its own look-up would try the network too."""
    import pydicom

    return Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm"


def command(*words: str, expected: int = 0) -> None:
    from anatpaste_gpu.cli import main

    status = main(words)
    assert status == expected, f"anatpaste {' '.join(words)} ended with {status}"


#: Extra -> what is tried of it.
PARTS = {
    part.__name__.replace("_", "-"): part
    for part in (
        *(core, data, train, report, timm, pretrained, dicom, export, openvino, ray, serve, cupy),
        *(dicom_out, mlflow, wandb),
    )
}

if __name__ == "__main__":
    PARTS[sys.argv[1]]()
