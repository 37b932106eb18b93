"""Measure in a guest: from a buffer to a mapped list, by method and page size.

    tests/vm/run --memory 4G --hugepages 520 -- .venv/bin/python tests/vm/measure.py

Emulated, and so 15 to 40 times as slow as a real machine: compare the rows, not with a clock.
"""

import mmap
import time
from collections.abc import Callable
from itertools import pairwise

from backends import Backend, edu_of, iommufd, noiommu
from guest_pin import aligned
from harness import PAGE, huge, kind, scattered

import phyr
from phyr import pci
from phyr.iommu import Direction, dma_map
from phyr.vfio import Type1

SIZE = 1 << 30


def pages(advice: int) -> memoryview:
    """Return a buffer of small pages, or of transparent huge ones."""
    buffer = aligned(SIZE)
    whole = buffer.obj
    assert isinstance(whole, mmap.mmap)
    whole.madvise(advice)
    zeros = bytes(2 << 20)
    for position in range(0, SIZE, len(zeros)):
        buffer[position : position + len(zeros)] = zeros
    return buffer


def reserved() -> memoryview:
    return memoryview(huge(SIZE >> 21))


BUFFERS: dict[str, Callable[[], memoryview]] = {
    "scattered": lambda: memoryview(scattered(SIZE)),
    "4 KiB": lambda: pages(mmap.MADV_NOHUGEPAGE),
    "transparent": lambda: pages(mmap.MADV_HUGEPAGE),
    "2 MiB": reserved,
}


def measure(name: str, backend: Backend, buffer: memoryview) -> None:
    """Pin, map and unmap, and print a row."""
    marks = [time.perf_counter()]

    def mark() -> None:
        marks.append(time.perf_counter())

    with phyr.pin(buffer) as pinned:
        mark()
        mapping = dma_map(pinned.phyr, backend, Direction.BIDIRECTIONAL)
        mark()
        mapping.unmap()
        mark()
        chunks = len(pinned.phyr.chunks)
    pin, to, back = (f"{(b - a) * 1e3:9.1f}" for a, b in pairwise(marks))
    requests = getattr(backend, "requests", 0)
    print(
        f"{name:12} {type(backend).__name__:8} {chunks:7} {requests:4} {pin} {to} {back}",
        flush=True,
    )


def main() -> None:
    print("pages        backend   chunks reqs    pin ms    map ms  unmap ms")
    makers: list[Callable[[], Backend]] = [noiommu] if kind() == "none" else [Type1, iommufd]
    # Work that is done only once is not measured.
    with edu_of(first := makers[0]()), phyr.pin(scattered(PAGE)) as pinned:
        dma_map(pinned.phyr, first, Direction.BIDIRECTIONAL).unmap()
    for name, make_buffer in BUFFERS.items():
        buffer = make_buffer()
        for make in makers:
            with edu_of(backend := make()):
                measure(name, backend, buffer)
        buffer.release()
    assert pci.device.OPEN == {}


if __name__ == "__main__":
    main()
