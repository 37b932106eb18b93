"""Page sizes, calls and memory for the tests of the simulated IOMMU."""

from types import SimpleNamespace
from typing import Any

from phyr import Phyr
from phyr.sim import Memory

K4, M2, G1 = 4 << 10, 2 << 20, 1 << 30
ALL = K4 | M2 | G1
MEMORY = 1 << 20


def columns(calls: list[tuple[int, int, int, int]]) -> Any:  # noqa: ANN401 - duck typed on purpose
    iovas, paddrs, pgsizes, pgcounts = zip(*calls, strict=True) if calls else ((),) * 4
    return SimpleNamespace(iovas=iovas, paddrs=paddrs, pgsizes=pgsizes, pgcounts=pgcounts)


def image(memory: Memory) -> bytes:
    return memory.read(Phyr.from_chunks([(0, memory.size)]))
