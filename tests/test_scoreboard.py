"""The benchmark harness: statistics, turns, agreement before timing, comparison, the README's table."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import JPEGBaseline8Bit

from bench import (
    compare,
    goals,
    growth,
    machine,
    measure,
    pictures,
    prepare_speed,
    readme,
    results_file,
    scoreboard,
    summary,
    task,
    timing,
)
from bench.tasks import all_workloads, decoding, entering, labelling
from dev import memory

from .test_data_dicom import make

WORKLOAD = task.Workload(
    task.Task(
        "doubling",
        (
            task.ours(lambda batch: batch * 2),
            task.Entrant("NumPy", task.one_by_one(lambda plane: plane * 2), ("numpy",)),
            task.Entrant("elsewhere", task.one_by_one(lambda plane: plane), ("no_such_module",)),
        ),
        lambda setting, batch, size: torch.arange(batch * size * size).view(batch, 1, size, size),
        task.distance,
    ),
    batch=2,
    size=4,
)


def with_peer(**changes: Any) -> task.Workload:
    """The workload above with its second entrant changed."""
    ours, peer, absent = WORKLOAD.task.entrants
    entrants = (ours, dataclasses.replace(peer, **changes), absent)
    return dataclasses.replace(WORKLOAD, task=dataclasses.replace(WORKLOAD.task, entrants=entrants))


def facts(case: str, entrant: str, seconds: float, ratio: float, **changes: Any) -> dict[str, Any]:
    """One row as the result file has it; quartiles 2 % off."""

    def spread(middle: float) -> dict[str, float]:
        return timing.Spread(*(middle * share for share in (0.9, 0.98, 1, 1.02, 1.1))).to_dict()

    shared = {"setting": pictures.REAL, "threads": 1, "device": "cpu", "clock": "processor", "unit": "image"}
    return {
        **shared,
        "case": case,
        "work": case.split(",")[0],
        "batch": 8,
        "size": 256,
        "units": 8,
        "entrant": entrant,
        "seconds": spread(seconds),
        "ours_times_faster": spread(ratio),
        "differs": "",
        "advantage": "",
        "likeness": "",
        "input_bytes": 100,
        "peak_bytes": 300,
        **changes,
    }


def write_results(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A result file in a folder of its own."""
    about = {"processor": "A CPU", "cores": 2, "gpu": None, "system": "Linux", "python": "3", "versions": {}}
    content = {
        "machine": {**about, "pictures": "phantoms"},
        "commit": "0123456789abcdef",
        "date": "2026-01-02T03:04:05",
        "rows": rows,
    }
    path.mkdir(parents=True, exist_ok=True)
    (path / results_file.NAME).write_text(results_file.text(content))
    return path


def dilation_rows(ratio: float) -> list[dict[str, Any]]:
    case = f"dilation, {goals.AT_256}"
    return [facts(case, task.OURS, 1e-5, 1.0), facts(case, "OpenCV", 1e-5 * ratio, ratio)]


# --- statistics ---


@given(st.floats(0.1, 3), st.floats(1e-9, 1))
def test_growth_exponent_recovers_a_power_law(exponent: float, factor: float) -> None:
    amounts = [1.0, 4.0, 64.0, 256.0]
    fitted = timing.growth_exponent(amounts, [factor * amount**exponent for amount in amounts])
    assert fitted == pytest.approx(exponent, abs=1e-9)  # a least-squares fit in double


def test_growth_exponent_refuses_one_amount() -> None:
    with pytest.raises(ValueError, match=r"needs two different amounts, got \[4, 4\]"):
        timing.growth_exponent([4, 4], [1, 2])


def test_ratio_is_taken_within_rounds() -> None:
    """A round in which the machine was three times slower for all leaves the ratio as it is."""
    assert timing.times_faster([2, 6, 2], [1, 3, 1]) == timing.Spread(2, 2, 2, 2, 2)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30))
def test_spread_is_ordered(values: list[float]) -> None:
    spread = timing.Spread.of(values)
    assert (spread.minimum, spread.maximum) == (min(values), max(values))
    assert spread.minimum <= spread.quartile1 <= spread.median <= spread.quartile3 <= spread.maximum


def test_turns_interleave_and_fill_every_round() -> None:
    log: list[str] = []
    times = timing.take_turns({name: lambda name=name: log.append(name) for name in "ab"}, 0.0)  # type: ignore[misc]
    assert {len(turns.wall) for turns in times.values()} == {timing.FEWEST_ROUNDS}
    blocks = [name for name, _ in itertools.groupby(log[2:])]  # after one call each to warm up
    assert set(blocks) == {"a", "b"}
    assert len(blocks) >= timing.FEWEST_ROUNDS + 1


def test_replay_tells_what_was_loaded() -> None:
    replay = timing.Replay()
    replay.load([0.25, 0.5])
    moments = [replay()]
    for _ in range(2):
        replay.step()
        moments.append(replay())
    assert moments == [0.0, 0.25, 0.75]


# --- measuring ---


def test_measures_who_is_there_and_names_who_is_not() -> None:
    found = measure.measure(WORKLOAD, 0.0)
    absent = found["elsewhere"]
    assert absent == measure.Absent("elsewhere is not installed here (no module no_such_module)")
    peer = found["NumPy"]
    assert isinstance(peer, measure.Measured)
    assert peer.facts["likeness"] == "equal"
    assert peer.facts["units"] == 2
    assert len(peer.seconds) == timing.FEWEST_ROUNDS


def test_another_result_is_never_timed() -> None:
    wrong = with_peer(prepare=task.one_by_one(lambda plane: plane * 3))
    with pytest.raises(AssertionError, match="NumPy's result should equal ours, but mean difference"):
        measure.measure(wrong, 0.0)


def test_a_known_difference_is_told() -> None:
    known = with_peer(prepare=task.one_by_one(lambda plane: plane * 2 + 1), differs="adds one")
    peer = measure.measure(known, 0.0)["NumPy"]
    assert isinstance(peer, measure.Measured)
    assert peer.facts["likeness"] == "mean difference from ours 1.000"


def test_a_slow_peer_is_compared_on_its_share() -> None:
    peer = measure.measure(with_peer(most=1), 0.0)["NumPy"]
    assert isinstance(peer, measure.Measured)
    assert peer.facts["units"] == 1


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    with measure.limited_to(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of a process")
def test_peak_memory_of_a_known_call() -> None:
    size = 64 << 20
    np.ones(size, dtype=np.uint8)
    found = memory.peak_bytes(lambda: np.ones(size, dtype=np.uint8), "cpu")
    # pages of other threads of the test run may come or go meanwhile
    assert found == pytest.approx(size, rel=0.1)


# --- cases ---


def test_case_names_are_unique() -> None:
    names = [case.name for case in all_workloads()]
    assert len(names) == len(set(names))


def test_every_case_has_ours_first() -> None:
    assert {case.entrants()[0].name for case in all_workloads()} == {task.OURS}


def test_shown_cases_exist() -> None:
    assert set(readme.SHOWN) <= {case.name for case in all_workloads()}


def test_the_plain_loop_is_named_by_the_decoder_that_pydicom_chooses() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=30)
    dataset = make(noise, JPEGBaseline8Bit, PixelData=encapsulate([stream.getvalue()]))
    by_plugin = {
        plugin: pixel_array(dataset, decoding_plugin=plugin)
        for plugin in get_decoder(JPEGBaseline8Bit).available_plugins
    }
    chosen = by_plugin[prepare_speed.chosen_decoder()]
    alike = [plugin for plugin, pixels in by_plugin.items() if np.array_equal(pixels, chosen)]
    # Noise is decoded differently by each JPEG library, so this tells them apart.
    assert alike == [prepare_speed.chosen_decoder()]
    assert np.array_equal(pixel_array(dataset), chosen)
    ours, plain, pillow = decoding.PREPARE.entrants
    assert [ours.name, plain.name, pillow.name] == [task.OURS, *prepare_speed.DECODERS]
    assert pillow.differs == ""
    assert (prepare_speed.chosen_decoder() in plain.differs) == (prepare_speed.chosen_decoder() != "pillow")


def test_labels_are_renumbered_in_raster_order() -> None:
    labels = np.array([[[0, 7, 0], [3, 0, 7], [9, 9, 0]]])
    assert labelling.in_raster_order(labels).tolist() == [[[0, 1, 0], [2, 0, 1], [3, 3, 0]]]


class OnDevice:
    """As much of a CuPy array as a comparison asks for."""

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def get(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array(self.values)


def test_results_come_back_from_a_device() -> None:
    (labels, areas), (others, _) = entering.from_cupy([(OnDevice([1]), OnDevice([2])), (OnDevice([3]),) * 2])
    assert (labels.tolist(), areas.tolist(), others.tolist()) == ([1], [2], [3])


@pytest.mark.parametrize("setting", [*pictures.HARD_IMAGES])
def test_hard_images_are_not_constant(setting: str) -> None:
    images = pictures.images(setting, 2, 32)
    assert images.shape == (2, 1, 32, 32)
    assert images.min() < images.max()


def test_phantoms_stand_in_for_radiographs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "data_root", lambda: None)
    images = pictures.radiographs(3, 64)
    assert images.shape == (3, 1, 64, 64)
    assert pictures.source() == "radiograph phantoms made by code"


# --- results ---


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="is no result of `pytest bench/ --benchmark-json`"):
        results_file.load(path)


def test_the_short_form_drops_the_rounds_and_loads_again(tmp_path: Path) -> None:
    rows = dilation_rows(0.5)
    raw = {
        "machine_info": {"scoreboard": {"cores": 2}, "cpu": {"flags": ["avx"]}},
        "commit_info": {"id": "0123"},
        "datetime": "2026-01-02",
        "benchmarks": [{"extra_info": row, "stats": {"data": [1.0, 2.0]}} for row in rows],
    }
    path = tmp_path / results_file.NAME
    path.write_text(results_file.text(results_file.short(raw)))
    assert len(path.read_text().splitlines()) == 7 + len(rows)
    assert json.loads(path.read_text()) == results_file.short(raw)
    loaded = results_file.load(path)
    assert (loaded.machine, loaded.commit, loaded.date) == ({"cores": 2}, "0123", "2026-01-02")
    assert [row.facts for row in loaded.rows] == rows


def test_a_loss_is_printed_with_its_reason(tmp_path: Path) -> None:
    rows = dilation_rows(0.5)
    rows[1]["advantage"] = "stays in bytes"
    sheet = scoreboard.markdown(results_file.load(write_results(tmp_path, rows) / results_file.NAME))
    assert f"| dilation, {goals.AT_256} | OpenCV | 0.5 |  | stays in bytes |" in sheet
    assert "| dilation, times OpenCV | at least 1 | 0.5 | **missed** |" in sheet
    assert "| KDE score, times scikit-learn | at least 10 | not measured |  |" in sheet


@pytest.mark.parametrize(("ratio", "verdict"), [(0.997, "met"), (0.99, "**missed**")])
def test_training_is_judged_by_images_a_second(tmp_path: Path, ratio: float, verdict: str) -> None:
    shape = {"units": 16, "unit": "pair", "images": 2}
    rows = [
        facts(goals.TRAINING_STEP, task.OURS, 0.05, 1.0, **shape),
        facts(goals.TRAINING_STEP, "bare step", 0.05 * ratio, ratio, **shape),
    ]
    sheet = scoreboard.markdown(results_file.load(write_results(tmp_path, rows) / results_file.NAME))
    beside = f"40.00 against {40 / ratio:.2f} images/s; 800.0 against {800 * ratio:.1f} ms a step"
    assert f"| at least 0.995 | {ratio} ({beside}) | {verdict} |" in sheet
    assert "| 40 |" in sheet  # images/s of the case


def test_goals_are_of_cases_that_exist() -> None:
    names = {case.name for case in all_workloads()}
    assert {goals.TRAINING_STEP, goals.PREPARE, goals.LARGE_BATCH, goals.JITTER} <= names


def test_growth_takes_one_row_a_size(tmp_path: Path) -> None:
    rows = [
        facts(f"lung segmentation, {batch} x {size}", task.OURS, size**2 * 1e-9, 1, batch=batch, size=size)
        for batch, size in ((32, 128), (8, 256), (64, 256))
    ]
    results = results_file.load(write_results(tmp_path, rows) / results_file.NAME)
    by_size, by_batch = growth.growths(results)
    assert (by_size.against, by_size.amounts) == ("pixels", [128**2, 256**2])
    assert by_size.exponent == pytest.approx(1)
    assert (by_batch.against, by_batch.amounts) == ("batch", [8, 64])


def test_folder_is_named_by_the_machine() -> None:
    about = {"processor": "Intel(R) Core(TM) i7", "cores": 8, "gpu": "NVIDIA X"}
    assert machine.folder(about).name == "intel-r-core-tm-i7-8-cores-nvidia-x"


def test_terminal_shows_a_loss_in_red(tmp_path: Path) -> None:
    results = results_file.load(write_results(tmp_path, dilation_rows(0.5)) / results_file.NAME)
    (table,) = summary.tables(results.rows)
    assert table.title == "dilation"
    assert [row.style for row in table.rows] == ["bold", "red"]


# --- compare ---


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [(2.0, 1.5, 1), (2.0, 1.85, 0), (2.0, 4.0, 0)],
    ids=["a quarter lost", "within the tolerance", "gained"],
)
def test_compare_flags_by_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: float, new: float, status: int
) -> None:
    folders = [write_results(tmp_path / n, dilation_rows(r)) for n, r in (("old", old), ("new", new))]
    monkeypatch.setattr("sys.argv", ["compare", *map(str, folders)])
    assert compare.main() == status


def test_a_slower_machine_is_no_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = dilation_rows(2.0)
    for row in slower:
        row["seconds"] = {name: 5 * value for name, value in row["seconds"].items()}
    folders = [write_results(tmp_path / "old", dilation_rows(2.0)), write_results(tmp_path / "new", slower)]
    monkeypatch.setattr("sys.argv", ["compare", *map(str, folders)])
    assert compare.main() == 0


def test_overlapping_quartiles_are_noise() -> None:
    old, new = timing.Spread(1.3, 1.4, 2.0, 2.6, 2.7), timing.Spread(1.1, 1.2, 1.5, 1.8, 1.9)
    assert not compare.Change("case", "peer", old, new).is_regression(0.1)


def test_compare_needs_something_in_common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = write_results(tmp_path / "old", dilation_rows(2.0))
    new = write_results(tmp_path / "new", dilation_rows(2.0)[:1])
    monkeypatch.setattr("sys.argv", ["compare", str(old), str(new)])
    with pytest.raises(SystemExit, match="no case and peer in common"):
        compare.main()


# --- README ---


def test_readme_shows_its_results() -> None:
    text = readme.README.read_text()
    assert readme.generated(text) == text, "README.md's table is stale; run `python -m bench.readme`"


def test_readme_table_is_made_between_its_markers(tmp_path: Path) -> None:
    write_results(tmp_path / "bench" / "results" / "a-cpu", dilation_rows(0.5))
    begin = "<!-- scoreboard of bench/results/a-cpu, generated by `make bench` -->"
    text = f"before\n{begin}\nstale\n{readme.END}\nafter\n"
    made = readme.generated(text, tmp_path)
    assert "| - dilation | 0.01 | OpenCV **0.5** |" in made
    assert "stale" not in made
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    assert readme.generated(made, tmp_path) == made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no markers", "README.md must hold a line like"),
        (
            f"<!-- scoreboard of bench/results/none, generated by `make bench` -->\n{readme.END}",
            "README.md shows bench/results/none, which holds no benchmark.json",
        ),
    ],
)
def test_readme_without_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        readme.generated(text, tmp_path)
