"""Failed allocations without phyr: a program that ends well if the interpreter stands them.

CPython 3.15.1 does not: if it has no memory for a tuple, the next collection crashes. Neither does
CPython 3.13.5, which crashes if it has no memory for a slice.
"""

import _testcapi  # type: ignore[import-not-found]
import gc
from contextlib import suppress

PAGE = bytes(4096)


def work() -> list[tuple[int, int]]:
    """Make a few lists, tuples and numbers."""
    return [(number * 70_000 + 70_000, 5) for number in range(3)]


def appended() -> list[tuple[int, int]]:
    """Make them one by one."""
    items = []
    for number in range(3):
        items.append((number * 70_000 + 70_000, 5))  # noqa: PERF401 - on purpose
    return items


def cut() -> list[bytes]:
    """Cut some bytes, in a function that C calls."""
    return list(map(lambda number: PAGE[:number], [1000, 2000]))  # noqa: C417 - on purpose


def main() -> None:
    """Let each allocation of them fail, and collect after each failure."""
    for act in (work, appended, cut):
        act()
        for nth in range(20):
            with suppress(MemoryError):
                _testcapi.set_nomemory(nth, nth + 1)
                act()
            _testcapi.remove_mem_hooks()
            gc.collect()


if __name__ == "__main__":
    main()
