"""Signals are handled while a call works on a long list."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from phyr import Index, Phyr

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

COUNT = 1_000_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a timer of used time")


def with_signals(call: Callable[[], object], every: float = 0.001) -> list[float]:
    """Return when signals were handled in a call, its begin and its end, in used time."""
    times = []

    def handle(_number: int, _frame: FrameType | None) -> None:
        times.append(time.process_time())

    before = signal.signal(signal.SIGPROF, handle)
    # A collection of many objects is long, and handles no signals.
    gc.disable()
    times.append(time.process_time())
    signal.setitimer(signal.ITIMER_PROF, every, every)
    try:
        # It is freed later: that takes time too.
        result = call()
    finally:
        times.append(time.process_time())
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        gc.enable()
    del result
    return times


def longest(call: Callable[[], object]) -> float:
    """Return the longest time without a look at signals, as a part of all time: the least of four.

    A processor that others use too, or a page fault that takes long, is in some of them.
    """
    runs = [with_signals(call) for _ in range(4)]
    return min(max(np.diff(times)) / (times[-1] - times[0]) for times in runs)


class Stopped(BaseException):
    """Raised by a signal's handler, as `KeyboardInterrupt` is at Ctrl-C."""


@pytest.fixture(scope="module")
def phyr() -> Phyr:
    pfns = np.random.default_rng(1).permutation(2 * COUNT)[:COUNT]
    return Phyr.from_pfns(pfns.astype(np.uint64))


@pytest.fixture(scope="module")
def positions(phyr: Phyr) -> np.ndarray:
    draw = np.random.default_rng(2)
    return draw.integers(0, phyr.length, 4 * COUNT).astype(np.uint64)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_positions_are_translated_between_signals(
    phyr: Phyr, positions: np.ndarray, *, is_frozen: bool
) -> None:
    translate = (phyr.freeze() if is_frozen else phyr).translate
    assert longest(lambda: translate(positions)) < 1 / 4


def test_an_index_is_built_between_signals() -> None:
    pfns = np.random.default_rng(1).permutation(2 * COUNT)[:COUNT].astype(np.uint64)
    lists = [Phyr.from_pfns(pfns + number * 2 * COUNT) for number in range(8)]
    assert longest(lambda: Index(lists)) < 1 / 3


def test_an_index_finds_between_signals(phyr: Phyr) -> None:
    index = Index([phyr])
    # Most of the time goes into the objects for Python.
    assert longest(lambda: index.find(0, 1 << 40)) < 1 / 20


@pytest.mark.parametrize("order", ["random", "ascending"])
@pytest.mark.parametrize("form", ["list", "frozen", "one chunk"])
def test_an_interrupted_translation_leaves_all_or_nothing_in_out(
    phyr: Phyr, positions: np.ndarray, form: str, order: str
) -> None:
    if form == "frozen":
        translate = phyr.freeze().translate
    else:
        one = Phyr.from_chunks([(1 << 40, phyr.length)])
        translate = (phyr if form == "list" else one).translate
    if order == "ascending":
        positions = np.repeat(np.sort(positions), 4)
    out = np.empty_like(positions)
    used = min(map(np.ptp, [with_signals(lambda: translate(positions, out=out)) for _ in "ab"]))
    whole = out.copy()
    out.fill(7)

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    before = signal.signal(signal.SIGPROF, handle)
    try:
        signal.setitimer(signal.ITIMER_PROF, used / 2)
        with contextlib.suppress(Stopped):
            translate(positions, out=out)
            signal.setitimer(signal.ITIMER_PROF, 0)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert (out == 7).all() or (out == whole).all()
