"""The GPU check where there is no GPU: stages, missing tools, failures, time-outs, budget, and files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dev import REPOSITORY, operators
from dev.gpu_check import __main__ as command_line
from dev.gpu_check import machine
from dev.gpu_check.plan import OPERATOR_TESTS, PYTEST, SECONDS, plan
from dev.gpu_check.run import Reports, chosen, groups, run_all
from dev.gpu_check.stage import Stage, python_stage, run_stage

HOST = {"device": "a GPU"}


def run_code(code: str, **options: Any) -> dict[str, Any]:
    stage = python_stage("some", ["-c", code], options.pop("limit", 30.0), **options)
    return run_stage(stage, dict(os.environ), 100.0)


def the_plan(folder: Path, **options: Any) -> list[Stage]:
    return plan(folder, **{"use_built": False, "images": None, "seconds": 460.0, **options})


class TestOneStage:
    def test_a_missing_package_or_program_is_named(self) -> None:
        outcome = run_code("", packages=("json", "no_such_package"), tools=("no-such-program",))
        expected = "not on this machine: Python package no_such_package, program no-such-program"
        assert outcome == {"status": "skipped", "reason": expected}

    def test_a_passing_one_keeps_its_json(self, tmp_path: Path) -> None:
        result = tmp_path / "result.json"
        code = f"import json; json.dump({{'ms': 1}}, open({str(result)!r}, 'w')); print('7 passed in 1s')"
        outcome = run_code(code, result=result)
        told = (outcome["status"], outcome["result"], outcome["summary"])
        assert told == ("passed", {"ms": 1}, "7 passed in 1s")

    def test_a_failing_one_keeps_its_json_and_the_end_of_its_output(self, tmp_path: Path) -> None:
        result = tmp_path / "result.json"
        result.write_text('{"passed": false}')
        outcome = run_code("print('one'); raise SystemExit(3)", result=result)
        told = (outcome["status"], outcome["exit_code"], outcome["output_tail"], outcome["result"])
        assert told == ("failed", 3, ["one"], {"passed": False})

    def test_json_that_was_cut_short_is_left_out(self, tmp_path: Path) -> None:
        result = tmp_path / "result.json"
        result.write_text('{"passed": fal')
        assert "result" not in run_code("", result=result)

    def test_one_that_outruns_its_time_is_ended_with_children(self, tmp_path: Path) -> None:
        child = "import time; time.sleep(60)"
        code = (
            "import subprocess, sys, time;"
            f"p = subprocess.Popen([sys.executable, '-c', {child!r}]);"
            f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); time.sleep(60)"
        )
        outcome = run_code(code, limit=5.0)
        assert outcome["status"] == "timed out"
        status = Path(f"/proc/{(tmp_path / 'pid').read_text()}/status")
        # Gone, or a zombie that nobody has collected yet; on a busy machine a killed process dies late.
        deadline = time.monotonic() + 30
        while not is_dead(status) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert is_dead(status)

    def test_no_time_left_is_said(self) -> None:
        stage = python_stage("some", [], 300.0, least=60.0)
        outcome = run_stage(stage, {}, 59.0)
        assert outcome == {"status": "skipped", "reason": "the time for the whole check was used up"}


def is_dead(status: Path) -> bool:
    try:
        return "\tZ" in status.read_text()
    except OSError:
        return True


class TestAllStages:
    def test_each_writes_its_own_file_as_it_ends(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The second finds that of the first."""
        first = tmp_path / "out" / "first.json"
        look = f"import pathlib, sys; sys.exit(0 if pathlib.Path({str(first)!r}).is_file() else 4)"
        stages = [
            python_stage("first", ["-c", "raise SystemExit(1)"], 30),
            python_stage("second", ["-c", look], 30),
        ]
        outcomes = run_all(stages, dict(os.environ), time.monotonic() + 60, Reports(tmp_path / "out", HOST))
        assert {name: outcome["status"] for name, outcome in outcomes.items()} == {
            "first": "failed",
            "second": "passed",
        }
        for name, outcome in outcomes.items():
            written = json.loads((tmp_path / "out" / f"{name}.json").read_text())
            assert written == {"stage": name, "machine": HOST, **outcome}
        assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
            ["first", "failed"],
            ["second", "passed"],
        ]

    def test_what_takes_no_times_runs_beside_its_neighbours(self, tmp_path: Path) -> None:
        """Each of the two waits for what the other one writes."""

        def waits(own: str, others: str) -> Stage:
            code = (
                "import pathlib, time\n"
                f"pathlib.Path({str(tmp_path / own)!r}).touch()\n"
                f"while not pathlib.Path({str(tmp_path / others)!r}).exists(): time.sleep(0.05)"
            )
            return python_stage(own, ["-c", code], 30, beside=True)

        outcomes = run_all(
            [waits("a", "b"), waits("b", "a")], dict(os.environ), time.monotonic() + 60, lambda *_: None
        )
        assert [outcome["status"] for outcome in outcomes.values()] == ["passed", "passed"]

    def test_only_neighbours_are_put_together(self) -> None:
        kinds = [("a", False), ("b", True), ("c", True), ("d", False), ("e", True)]
        stages = [Stage(name, [], 1.0, beside=beside) for name, beside in kinds]
        assert [[stage.name for stage in group] for group in groups(stages)] == [
            ["a"],
            ["b", "c"],
            ["d"],
            ["e"],
        ]
        assert list(groups([])) == []

    @pytest.mark.slow
    def test_the_budget_ends_the_check_and_is_told_to_whom_it_concerns(self) -> None:
        told = python_stage("told", ["-c", "import sys; raise SystemExit(int(sys.argv[1]))", SECONDS], 1000.0)
        slow = python_stage("slow", ["-c", "import time; time.sleep(60)"], 100.0)
        late = python_stage("late", ["-c", ""], 100.0)
        started = time.monotonic()
        outcomes = run_all([told, slow, late], dict(os.environ), started + 30, lambda *_: None)
        assert 5 <= outcomes["told"]["exit_code"] <= 10, "20 seconds are kept for the end"
        assert outcomes["slow"]["status"] == "timed out"
        assert outcomes["late"]["reason"] == "the time for the whole check was used up"
        assert time.monotonic() - started < 60

    def test_they_are_chosen_by_name_in_their_own_order(self) -> None:
        stages = [Stage(name, [], 1.0) for name in ("a", "b", "c")]
        assert [stage.name for stage in chosen(stages, ["c", "a"])] == ["a", "c"]
        assert chosen(stages, []) == stages
        with pytest.raises(ValueError, match=r"^--stages must be among a, b, c, got d\.$"):
            chosen(stages, ["d"])


class TestPlan:
    def test_the_most_valuable_come_first(self, tmp_path: Path) -> None:
        names = [stage.name for stage in the_plan(tmp_path)]
        assert names == [
            *("build", "parity", "stress", "timings", "step", "profile", "operator-tests", "training-tests"),
            *("memcheck", "racecheck", "benchmarks", "training"),
        ]
        assert [stage.name for stage in the_plan(tmp_path, use_built=True)] == names[1:]

    def test_every_one_is_bounded_and_runs_here(self, tmp_path: Path) -> None:
        stages = the_plan(tmp_path)
        assert all(0 < stage.limit <= 240 and sys.executable in stage.command for stage in stages[:-1])
        assert command_line.BUDGET_SECONDS < 8 * 60

    def test_images_are_handed_on(self, tmp_path: Path) -> None:
        given = [s for s in the_plan(tmp_path, images=Path("/radiographs")) if "/radiographs" in s.command]
        assert {stage.name for stage in given} == {
            *("parity", "stress", "timings", "step", "profile", "memcheck", "racecheck", "training"),
        }
        assert all(stage.command[stage.command.index("--kept") + 1] == str(tmp_path) for stage in given)

    def test_programs_are_there(self, tmp_path: Path) -> None:
        commands = [stage.command for stage in the_plan(tmp_path)]
        programs = {part for command in commands for part in command if part.startswith("bench.gpu.")}
        folder = {f"bench.gpu.{path.stem}" for path in (REPOSITORY / "bench" / "gpu").glob("*.py")}
        shared = {f"bench.gpu.{name}" for name in ("__init__", "clock", "images", "program")}
        assert programs == folder - shared

    def test_nothing_is_asked_for_that_only_the_command_line_needs(self, tmp_path: Path) -> None:
        """A machine that is borrowed for its GPU may lack them."""
        for stage in the_plan(tmp_path):
            lacking = {"kornia", "jsonargparse", "pydicom"} & set(stage.packages)
            assert not lacking or stage.name == "benchmarks"


class TestCommandLine:
    @pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
    def test_without_a_gpu_it_says_so_and_writes_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command_line.main(["--output", str(tmp_path / "out")]) == 2
        assert capsys.readouterr().err == (
            "gpu-check needs an NVIDIA GPU that PyTorch can use; torch.cuda.is_available() is False here.\n"
        )
        assert not (tmp_path / "out").exists()

    def test_an_unknown_stage_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert command_line.main(["--stages", "parity", "sanity"]) == 2
        assert capsys.readouterr().err.startswith("--stages must be among build, parity, stress, ")

    @pytest.mark.parametrize(("code", "status"), [("", 0), ("raise SystemExit(1)", 1)])
    def test_the_status_tells_of_a_failure(
        self, code: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        facts = dict.fromkeys(("driver", "torch", "nvcc", "capability"), "") | {"device": "NVIDIA H200"}
        monkeypatch.setattr(command_line, "machine", lambda: facts)
        monkeypatch.setattr(command_line, "plan", lambda *_, **__: [python_stage("only", ["-c", code], 30)])
        monkeypatch.setattr(command_line, "RESULTS", tmp_path)
        assert command_line.main([]) == status
        written = json.loads((tmp_path / "gpu-check-nvidia-h200" / "only.json").read_text())
        assert written["machine"]["device"] == "NVIDIA H200"

    def test_it_is_a_module(self) -> None:
        command = [sys.executable, "-m", "dev.gpu_check", "--help"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        assert "--use-built" in done.stdout

    def test_results_are_named_after_the_device(self) -> None:
        folder = command_line.default_output("NVIDIA GeForce RTX 3090")
        assert folder.name == "gpu-check-nvidia-geforce-rtx-3090"

    def test_facts_of_the_machine_are_json(self) -> None:
        facts = machine.machine()
        assert json.loads(json.dumps(facts)) == facts
        assert facts["torch"] == torch.__version__

    def test_the_build_is_for_this_card_on_all_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("TORCH_CUDA_ARCH_LIST", "MAX_JOBS"):
            monkeypatch.delenv(name, raising=False)
        environment = machine.environment_for("9.0")
        assert environment["TORCH_CUDA_ARCH_LIST"] == "9.0"
        assert environment["MAX_JOBS"] == str(os.cpu_count())


@pytest.fixture(scope="module")
def selected() -> set[str]:
    """Files of the tests that the stage over the backends selects, each test on the GPU."""
    command = [sys.executable, *PYTEST, *OPERATOR_TESTS, "--collect-only"]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    tests = [line for line in run.stdout.splitlines() if "::" in line]
    assert tests, run.stdout
    assert all("cuda" in test for test in tests)
    return {test.split("::")[0] for test in tests}


@pytest.mark.slow
@pytest.mark.parametrize("operator", operators.registered())
def test_every_operator_is_tested_on_the_gpu(operator: str, selected: set[str]) -> None:
    if operator in operators.draws():
        return  # nothing of it runs there by itself; the operators that draw are tested
    assert operator in operators.with_cuda_kernel(), f"{operator} has no CUDA kernel"
    assert f"tests/test_{operator}.py" in selected, f"no test of {operator} takes the fixture `backend`"


@pytest.mark.slow
def test_a_file_that_needs_an_absent_package_is_skipped_by_name(tmp_path: Path) -> None:
    """And one that needs an absent module of ours is an error."""
    conftest = (REPOSITORY / "tests" / "conftest.py").read_text()
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_theirs.py").write_text("import no_such_package\n")
    (tmp_path / "test_fine.py").write_text("def test_it(backend): pass\n")
    options = ["--skip-unimportable", "--backend", "native", "-rs"]
    command = [sys.executable, *PYTEST, str(tmp_path), *options]
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
