"""Doing work in threads ahead of whoever takes its results, such as decoding while a network scores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def computed_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int,
    begin: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """What a function makes of items, in their order, whatever the workers.

    Where the iteration ends early, what is being computed is waited for and nothing more is begun.

    Args:
        function: called in threads.
        items: taken from by the caller's thread, up to `ahead` before the results are asked for.
        workers: threads.
        ahead: the most results that are held or computed at once.
        begin: called by each thread before its first item.

    Raises:
        Exception: whatever the function raises, in its item's turn.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, "ahead", begin)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
