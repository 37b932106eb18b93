"""Work of several threads at once."""

import threading
from collections.abc import Callable, Iterable

__all__ = ["together"]


def together(works: Iterable[Callable[[], object]]) -> list[BaseException]:
    """Do each work on a thread of its own, all at once; return what they raised."""
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test judges
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
