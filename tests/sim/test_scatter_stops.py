"""Scattering looks at signals, and whoever stops it has taken nothing."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from phyr import Phyr
from phyr.sim import Memory, SimDomain, scatter


@contextmanager
def alarm(after: float) -> Iterator[None]:
    """Raise TimeoutError in this thread after so many seconds."""

    def stop(_number: int, _frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("act", [scatter, Memory(1 << 40).scatter])
def test_scattering_stops_at_a_signal(act: Callable[..., Phyr]) -> None:
    start = time.monotonic()
    # The most blocks there may be: many seconds.
    with alarm(0.2), pytest.raises(TimeoutError):
        act(1 << 36, below=1 << 40)
    assert time.monotonic() - start < 5


def test_a_stopped_scatter_takes_nothing() -> None:
    memory = Memory(1 << 40)
    free = memory.free_bytes
    with alarm(0.2), pytest.raises(TimeoutError):
        memory.scatter(1 << 36)
    assert memory.free_bytes == free
    assert len(memory.alloc(free).chunks) == 1


class Endless(list[int]):
    """A sequence that claims to be longer than any memory."""

    def __len__(self) -> int:
        return 1 << 60


def test_a_sequence_is_read_item_by_item() -> None:
    phyr = scatter(1 << 20, orders=Endless([0]))
    assert phyr == scatter(1 << 20, orders=[0])
    assert SimDomain(Memory(1 << 20), reserved=Endless()).reserved == []  # type: ignore[arg-type]
