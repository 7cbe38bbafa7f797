"""Work done in threads ahead of whoever takes its results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from anatpaste_gpu.data.ahead import computed_ahead


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ahead", [1, 2, 100])
def test_results_come_in_order(workers: int, ahead: int) -> None:
    def late(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(computed_ahead(late, range(20), workers, ahead)) == [number * number for number in range(20)]


def test_no_more_is_asked_for_than_said() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    results = computed_ahead(lambda number: number, items(), 2, 5)
    assert asked == []
    assert [next(results), next(results)] == [0, 1]
    assert asked == [0, 1, 2, 3, 4, 5]


def test_the_next_are_computed_meanwhile() -> None:
    begun = threading.Event()

    def note(number: int) -> int:
        if number == 1:
            begun.set()
        return number

    results = computed_ahead(note, range(3), 1, 2)
    assert next(results) == 0
    assert begun.wait(60), "though nobody asked for it yet"


def test_an_error_comes_in_its_turn() -> None:
    results = computed_ahead(lambda number: 1 / number, [1, 2, 0, 4], 2, 4)
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_leaving_early_begins_nothing_more() -> None:
    begun: list[int] = []
    entered, release = threading.Event(), threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            entered.set()
            release.wait(60)
        return number

    results = computed_ahead(work, range(50), 1, 40)
    assert next(results) == 0
    assert entered.wait(60)
    threading.Timer(0.05, release.set).start()
    results.close()  # type: ignore[attr-defined]
    assert begun == [0, 1]
