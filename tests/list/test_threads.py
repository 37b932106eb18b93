"""Lists are shared between threads without locks, and long calls let other threads run."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from phyr import Builder, Phyr
from support.agree import built
from support.model import Model
from support.strategies import model_of, patterned

NR_THREADS = 4


def together(act: Callable[[int], object]) -> list[object]:
    """Run an act in some threads that start at the same time; return what they return."""
    barrier = threading.Barrier(NR_THREADS)

    def wait_and_act(number: int) -> object:
        barrier.wait()
        return act(number)

    with ThreadPoolExecutor(NR_THREADS) as pool:
        return list(pool.map(wait_and_act, range(NR_THREADS)))


def test_threads_may_read_one_list_at_once() -> None:
    model = model_of(patterned(1500, 3))
    phyr = built(model)
    expected = model.chunks()
    step = model.length // 500

    def read(number: int) -> bool:
        whole = phyr
        for turn in range(number, 500, NR_THREADS):
            at = turn * step
            left, right = whole.split(at)
            assert right[0] == model.translate(at)
            assert left.length == at
        whole = left + right
        assert (whole, hash(whole)) == (phyr, hash(phyr))
        assert list(whole.chunks) == expected
        assert np.asarray(phyr.chunks.paddrs).tolist() == [paddr for paddr, _ in expected]
        return Phyr.from_bytes(phyr.to_bytes()) == phyr.compact()

    assert together(read) == [True] * NR_THREADS


def test_threads_may_share_one_iterator() -> None:
    model = model_of(patterned(3000, 4))
    walk = iter(built(model).chunks)
    parts = together(lambda _: list(walk))
    taken = [chunk for part in parts if isinstance(part, list) for chunk in part]
    assert sorted(taken) == sorted(model.chunks())


def test_threads_may_share_one_builder() -> None:
    builder = Builder()

    def extend(number: int) -> None:
        for turn in range(200):
            pfn = (number << 40) + 16 * turn
            builder.extend_pfns([pfn, pfn + 1, pfn + 5])

    together(extend)
    phyr = builder.finish()
    phyr.validate()
    assert phyr.length == NR_THREADS * 200 * 3 * 4096
    expected = [
        chunk
        for number in range(NR_THREADS)
        for turn in range(200)
        for chunk in Model.of_pages(
            [(number << 40) + 16 * turn + step for step in (0, 1, 5)]
        ).chunks()
    ]
    assert sorted(phyr.chunks) == expected


@dataclass(frozen=True)
class Long:
    """Inputs of calls that take long enough to be watched."""

    pfns: npt.NDArray[np.int64]
    paddrs: npt.NDArray[np.int64]
    one: Phyr
    other: Phyr
    written: bytes


@pytest.fixture(scope="module")
def long() -> Long:
    pfns = np.arange(0, 8_000_000, 2)
    one = Phyr.from_pfns(pfns)
    return Long(pfns, pfns << 12, one, Phyr.from_pfns(pfns), one.to_bytes())


LONG_CALLS: dict[str, Callable[[Long], object]] = {
    "from_pfns": lambda long: Phyr.from_pfns(long.pfns),
    "from_pages": lambda long: Phyr.from_pages(long.paddrs),
    "from_chunks": lambda long: Phyr.from_chunks(long.one.chunks.paddrs, long.one.chunks.lengths),
    "from_bytes": lambda long: Phyr.from_bytes(long.written),
    "to_bytes": lambda long: long.one.to_bytes(),
    "compact": lambda long: long.one[1:].compact(),
    "add": lambda long: long.one + long.other,
    "equal": lambda long: long.one == long.other,
    "hash": lambda long: hash(long.one),
    "stats": lambda long: long.one.stats(),
    "orders": lambda long: long.one.orders(),
    "validate": lambda long: long.one.validate(),
    "lengths": lambda long: memoryview(long.one.chunks.lengths),
    "pages": lambda long: long.one.pages(4096),
}


@pytest.mark.parametrize("name", LONG_CALLS)
def test_a_long_call_lets_other_threads_run(name: str, long: Long) -> None:
    """This thread sees many times of the middle of the call; it would see none if it were held."""
    # Others may have both cores for the length of a short call, many times in a row.
    end_of_tries = time.monotonic() + 30
    while time.monotonic() < end_of_tries:
        span: list[float] = []

        def work(span: list[float] = span) -> None:
            span.append(time.perf_counter())
            LONG_CALLS[name](long)
            span.append(time.perf_counter())

        thread = threading.Thread(target=work)
        seen = []
        thread.start()
        while len(span) < 2:
            seen.append(time.perf_counter())
        thread.join()
        start, end = span
        quarter = (end - start) / 4
        if sum(start + quarter < at < end - quarter for at in seen) > 10:
            return
    pytest.fail(f"{name} held the interpreter")


def test_an_array_that_changes_while_it_is_read_gives_a_sound_list_or_an_error() -> None:
    pfns = np.arange(0, 400_000, 2)
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            pfns[:] = 5
            pfns[::3] = np.arange(0, 400_000, 2)[::3]

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(20):
            phyr = Phyr.from_pfns(pfns)
            phyr.validate()
            assert phyr.length == 4096 * len(pfns)
    finally:
        stop.set()
        thread.join()


# A script of its own, since an interrupt that comes late would hit whatever runs then.
INTERRUPTED = """
import _thread, signal, threading, time
from itertools import count, repeat
from phyr import Builder

builder = Builder(kind="mmio")
builder.extend_pfns([5])
threading.Timer(0.2, _thread.interrupt_main).start()
begin = time.perf_counter()
try:
    builder.{call}
except KeyboardInterrupt:
    assert time.perf_counter() - begin < 5
    assert builder.length == 4096
    assert list(builder.finish().chunks) == [(0x5000, 0x1000)]
    print("interrupted")
"""

# An iterable whose iterator calls its own builder.
REENTRANT = """
from phyr import Builder

builder = Builder()
builder.extend_pfns([100])

def pages(act):
    for pfn in (1, 2, 3):
        act()
        yield pfn

for act in (
    lambda: builder.append(0x5000, 0x1000),
    lambda: builder.extend_pfns([9]),
    lambda: builder.length,
    lambda: repr(builder),
    lambda: builder.finish(),
    lambda: builder.extend_pfns(pages(lambda: None)),
):
    builder.extend_pfns(pages(act))
phyr = builder.finish()
phyr.validate()
print(len(phyr.chunks), phyr.length)
"""


def run_alone(script: str) -> str:
    """Run a script in its own interpreter and return what it prints."""
    run = subprocess.run(  # noqa: S603 - the script stands above
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    assert run.stderr == ""
    return run.stdout.strip()


@pytest.mark.parametrize(
    "call",
    [
        "extend_pfns(count())",
        "extend_pages(count(0, 4096))",
        "extend_chunks(zip(count(0, 4096), repeat(4096)))",
        "extend_chunks(count(0, 4096), repeat(4096))",
    ],
)
def test_an_endless_build_can_be_interrupted(call: str) -> None:
    assert run_alone(INTERRUPTED.format(call=call)) == "interrupted"


def test_an_iterable_that_uses_its_own_builder_does_not_hang() -> None:
    nr_chunks, length = map(int, run_alone(REENTRANT).split())
    assert 0 < nr_chunks <= length // 4096


ERRORS = """
import sys, threading
from phyr import Builder
sys.setswitchinterval(1e-6)
builder = Builder()
stop = False
def fail():
    for _ in range(20000):
        try:
            builder.append(0, 0)
        except ValueError:
            pass
def look():
    while not stop:
        builder.length
threads = [threading.Thread(target=each) for each in (fail, look)]
for each in threads:
    each.start()
threads[0].join()
stop = True
threads[1].join()
print("fine")
"""


def test_an_error_in_one_thread_does_not_stop_another() -> None:
    # Making an exception runs Python code, so it must not happen under the builder's lock.
    assert run_alone(ERRORS) == "fine"
