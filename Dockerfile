# For CPUs:         docker build -t anatpaste .
# For NVIDIA GPUs:  docker build -t anatpaste:cuda --build-arg VARIANT=cuda .   (then docker run --gpus all)
# A data set and a folder for runs:  docker run -v DATA:/data:ro -v RUNS:/runs anatpaste train --data-root /data --output /runs/first
ARG VARIANT=cpu

FROM python:3.11-slim-bookworm AS base-cpu
ENV ANATPASTE_BUILD=cpu TORCH_INDEX=https://download.pytorch.org/whl/cpu TOOLKIT=

FROM python:3.11-slim-bookworm AS base-cuda
ENV ANATPASTE_BUILD=all TORCH_INDEX=https://download.pytorch.org/whl/cu130
ENV TOOLKIT=cuda-toolkit[nvcc,cccl,crt,nvvm]==13.0.*

# The compiler stays in this stage; the wheel leaves it.
FROM base-${VARIANT} AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/anatpaste
ENV PATH=/opt/anatpaste/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m pip install torch torchvision --extra-index-url $TORCH_INDEX
RUN python -m pip install 'setuptools>=77' wheel ninja $TOOLKIT
WORKDIR /src
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE ./
COPY csrc csrc
COPY dev dev
COPY anatpaste_gpu anatpaste_gpu
RUN python -m pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .

FROM base-${VARIANT}
RUN python -m venv /opt/anatpaste
ENV PATH=/opt/anatpaste/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m pip install torch torchvision --extra-index-url $TORCH_INDEX
COPY --from=build /wheels /wheels
COPY dev/wheel_smoke.py /opt/wheel_smoke.py
RUN python -m pip install "$(echo /wheels/*.whl)[all,pretrained,export]"
RUN python -P /opt/wheel_smoke.py
RUN useradd --create-home anatpaste
USER anatpaste
WORKDIR /home/anatpaste
ENTRYPOINT ["anatpaste"]
CMD ["--help"]
