"""The GPU check where there is no GPU: missing tools, failures and time-outs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dev import REPOSITORY, gpu_check, operators


def python_step(code: str, **options: object) -> dict[str, object]:
    step = gpu_check.Step("step", [sys.executable, "-c", code], options.pop("limit", 30.0), **options)
    return gpu_check.run_step(step, dict(os.environ), 100.0)


def test_a_missing_package_or_program_is_named() -> None:
    outcome = python_step("", packages=("json", "no_such_package"), tools=("no-such-program",))
    expected = "not on this machine: Python package no_such_package, program no-such-program"
    assert outcome == {"status": "skipped", "reason": expected}


def test_a_passing_step_keeps_its_json(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    code = f"import json; json.dump({{'ms': 1}}, open({str(result)!r}, 'w')); print('7 passed in 1s')"
    outcome = python_step(code, result=result)
    assert (outcome["status"], outcome["result"], outcome["summary"]) == (
        "passed",
        {"ms": 1},
        "7 passed in 1s",
    )


def test_a_failing_step_keeps_the_end_of_its_output() -> None:
    outcome = python_step("print('one'); raise SystemExit(3)")
    assert (outcome["status"], outcome["exit_code"], outcome["output_tail"]) == ("failed", 3, ["one"])


def test_a_step_that_outruns_its_time_is_ended_with_children(tmp_path: Path) -> None:
    child = "import time; time.sleep(60)"
    code = (
        "import subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    outcome = python_step(code, limit=5.0)
    assert outcome["status"] == "timed out"
    status = Path(f"/proc/{(tmp_path / 'pid').read_text()}/status")
    # Gone, or a zombie that nobody has collected yet; on a busy machine a killed process dies in its turn.
    deadline = time.monotonic() + 30
    while not is_dead(status) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_dead(status)


def is_dead(status: Path) -> bool:
    try:
        return "\tZ" in status.read_text()
    except OSError:
        return True


def test_no_time_left_is_said() -> None:
    step = gpu_check.Step("step", [sys.executable], 30.0)
    outcome = gpu_check.run_step(step, {}, 1.0)
    assert outcome == {"status": "skipped", "reason": "the time for the whole check was used up"}


def test_every_step_of_the_plan_is_bounded_and_runs_here(tmp_path: Path) -> None:
    steps = gpu_check.plan(tmp_path)
    assert [step.name for step in steps][:2] == ["build", "parity and kernel timings"]
    assert all(0 < step.limit <= 200 and sys.executable in step.command for step in steps)
    assert gpu_check.BUDGET_SECONDS < 8 * 60


def test_the_result_is_named_after_the_device() -> None:
    assert (
        gpu_check.default_output("NVIDIA GeForce RTX 3090").name == "gpu-check-nvidia-geforce-rtx-3090.json"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    run = subprocess.run(
        [sys.executable, "-m", "dev.gpu_check", "--output", str(output)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.strip() == (
        "gpu-check needs an NVIDIA GPU that PyTorch can use; torch.cuda.is_available() is False here."
    )
    assert not output.exists()


def test_facts_of_the_machine_are_json() -> None:
    facts = gpu_check.machine()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["torch"] == torch.__version__


@pytest.fixture(scope="module")
def selected() -> set[str]:
    """Files of the tests that the step over the backends selects, each test on the GPU."""
    command = [sys.executable, *gpu_check.PYTEST, *gpu_check.OPERATOR_TESTS, "--collect-only"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    tests = [line for line in run.stdout.splitlines() if "::" in line]
    assert tests, run.stdout
    assert all("cuda" in test for test in tests)
    return {test.split("::")[0] for test in tests}


@pytest.mark.parametrize("operator", operators.registered())
def test_every_operator_is_tested_on_the_gpu(operator: str, selected: set[str]) -> None:
    if operator in operators.draws():
        return  # nothing of it runs there by itself; the operators that draw are tested
    assert operator in operators.with_cuda_kernel(), f"{operator} has no CUDA kernel"
    assert f"tests/test_{operator}.py" in selected, f"no test of {operator} takes the fixture `backend`"


def test_a_file_that_needs_an_absent_package_is_skipped_by_name(tmp_path: Path) -> None:
    """And one that needs an absent module of ours is an error."""
    conftest = (REPOSITORY / "tests" / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_theirs.py").write_text("import no_such_package\n")
    (tmp_path / "test_fine.py").write_text("def test_it(backend): pass\n")
    command = [
        sys.executable,
        *gpu_check.PYTEST,
        str(tmp_path),
        "--skip-unimportable",
        "--backend",
        "native",
        "-rs",
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    done = run()
    assert done.returncode == 0, done.stdout
    assert "no_such_package is not installed" in done.stdout
    (tmp_path / "test_ours.py").write_text("import anatpaste_gpu.no_such_module\n")
    assert run().returncode == 2
