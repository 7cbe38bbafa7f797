# Everything runs in .venv, which these targets make and keep up to date. `make help` lists them.
PYTHON ?= python3
TORCH ?= torch==2.14.1 torchvision==0.29.1
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs-done
SETUP := $(VENV)/.setup-done
BUILD := $(VENV)/.build-done
CPU_BUILD := $(VENV)/.cpu-build-done
SOURCES := setup.py dev/build_flags.py dev/cuda_toolkit.py csrc/ops.cpp $(wildcard csrc/common/*.h csrc/*.h csrc/cpu/*.h csrc/cpu/*.cpp csrc/cpu/simd/* csrc/cuda/*)
CXX_FILES = $(shell git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'csrc/*.cuh' 'tests/*.h' 'tests/*.cpp')

.DEFAULT_GOAL := help

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# --- set-up ---------------------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(SETUP) $(BUILD)  ## make .venv, install everything, compile the kernels (quick the second time)

# What runs are made with. Bytecode of all that is installed would take a minute; Python makes that of what it imports.
$(RUNS): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24' 'setuptools>=77' wheel ninja
	$(BIN)/python -m pip install --quiet --no-compile $(TORCH)
	ANATPASTE_BUILD=none $(BIN)/python -m pip install --quiet --no-compile --no-build-isolation -e '.[report,pretrained]'
	touch $(RUNS)

# What tests, manual and packaging need beside that.
$(SETUP): $(RUNS)
	ANATPASTE_BUILD=none $(BIN)/python -m pip install --quiet --no-compile --no-build-isolation \
	  -e '.[all,pretrained,export,serve,ray,mlflow,wandb,dicom-out,test,dev,dicom,docs]'
	touch $(SETUP)

$(BUILD): $(RUNS) $(SOURCES)
	$(BIN)/python setup.py --quiet build_ext --inplace
	touch $(BUILD)

$(CPU_BUILD): $(RUNS) $(SOURCES)
	ANATPASTE_BUILD=cpu $(BIN)/python setup.py --quiet build_ext --inplace
	touch $(CPU_BUILD)

.PHONY: build
build: $(BUILD)  ## compile what changed

.PHONY: simt
simt: $(SETUP)  ## build the executor that runs the CUDA kernels on a CPU, all variants (tests build it when needed)
	$(BIN)/python -m dev.simt_builder

.PHONY: wheel
wheel: $(SETUP)  ## build the cp310-abi3 wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

# The clean environment borrows torch and the other dependencies from .venv, never the package itself.
.PHONY: wheel-test
wheel-test: wheel  ## install the wheel into a clean environment and try it
	rm -rf build/wheel-test && $(BIN)/python -m venv build/wheel-test
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > build/dependencies.txt
	build/wheel-test/bin/python -m pip install --quiet --no-deps dist/*.whl
	cp dev/wheel_smoke.py build/wheel-test/ && cd build/wheel-test && PYTHONPATH=$$(cat ../dependencies.txt) bin/python wheel_smoke.py

# --- run ------------------------------------------------------------------------------------------------------------

# Without a GPU the demo has no use for the CUDA kernels, which take minutes to compile where there is an nvcc.
HAS_GPU := $(shell nvidia-smi -L 2>/dev/null)

.PHONY: demo
demo: $(if $(HAS_GPU),$(BUILD),$(CPU_BUILD))  ## train and score on radiograph phantoms made by code (minutes, CPU or GPU)
	$(BIN)/python train.py --dataset demo --preset demo --method fused --gpu 0 --output runs/demo --overwrite true

# --- check ----------------------------------------------------------------------------------------------------------

.PHONY: test
# A file's tests stay together, as many share what the file made first.
test: setup  ## the default tests, two processes at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: test-slow
test-slow: setup  ## the tests that take minutes: whole data sets, every schedule of the executor
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

.PHONY: bench
bench: setup  ## speed against peers, in minutes: scoreboard into bench/results/<machine>/ (BENCH=--full for everything)
	-ANATPASTE_BUILD=none $(BIN)/python -m pip install --quiet --no-build-isolation -e '.[peers]'
	$(BIN)/python -m bench $(BENCH)

.PHONY: roofline
roofline: setup  ## count the CUDA kernels' work and model their time on an RTX 3090: sheet into bench/results/
	$(BIN)/python -m bench.roofline

# On a GPU machine the Python at hand may be all there is: .venv if it was made, else PYTHON with its own torch.
.PHONY: gpu-check
gpu-check:  ## on a machine with an NVIDIA GPU: build, test, time, sanitise, train (CHECK="--stages parity step" and so on)
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m dev.gpu_check $(CHECK)

.PHONY: kernel-gates
kernel-gates: $(SETUP)  ## nvcc for every architecture, NVRTC 12, SASS: kernels against their written budgets
	$(BIN)/python -m dev.kernel_gates

.PHONY: floor-headers
floor-headers: $(SETUP) $(BUILD)  ## does it all compile with the oldest torch's headers, and load there? (fetches 146 MB once)
	$(BIN)/python -m dev.floor_headers

.PHONY: instruction-counts
instruction-counts: $(SETUP) $(CPU_BUILD)  ## the CPU kernels' instructions (callgrind) against pinned counts: what got slower
	$(BIN)/python -m dev.instruction_counts

.PHONY: lint
lint: $(SETUP)  ## ruff and clang-format, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

.PHONY: format
format: $(SETUP)  ## ruff and clang-format, in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

.PHONY: types
types: $(SETUP)  ## mypy
	$(BIN)/mypy

.PHONY: floors
floors: $(SETUP) $(CPU_BUILD)  ## the lowest declared version of every dependency, in a clean environment: does all of it work?
	$(BIN)/python -m dev.floors

# Its warnings are errors; blocks of the tutorial are run, and every link is followed.
.PHONY: docs
docs: $(SETUP) $(CPU_BUILD)  ## build the manual into build/site: runs its examples, follows its links
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: interchange
interchange: $(SETUP) $(CPU_BUILD)  ## the examples for MONAI, Lightning, albumentations and anomalib, where these are installed
	$(BIN)/python -m dev.interchange

.PHONY: release-check
release-check: $(SETUP) $(BUILD)  ## would a release be complete? archives, licences, bill of materials, container (docs/release.md)
	-ANATPASTE_BUILD=none $(BIN)/python -m pip install --quiet --no-build-isolation -e '.[release,openvino]'
	$(BIN)/python -m dev.release $(GATES)

.PHONY: clean
clean:  ## remove what was built (not .venv)
	rm -rf build dist *.egg-info anatpaste_gpu/*.so $(BUILD) $(CPU_BUILD)
