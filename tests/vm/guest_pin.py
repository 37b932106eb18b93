"""Checks of pins: the list is the page map's, and pages stay where they are."""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import (
    EDU,
    IOMMUS,
    KINDS,
    PAGE,
    PRIVATE,
    Checks,
    Skip,
    huge,
    pages_of,
    raises,
    runs_of,
    scattered,
    uaddr_of,
)

import phyr
from phyr import pci
from phyr.iommufd import Ioas
from phyr.vfio import Type1

checks = Checks()
_MADV_COLLAPSE = 25
SIZE = 4 << 20


def aligned(length: int) -> memoryview:
    """Return a buffer at a multiple of 2 MiB, of whatever pages."""
    whole = mmap.mmap(-1, length + (2 << 20), flags=PRIVATE)
    start = -uaddr_of(whole) % (2 << 20)
    return memoryview(whole)[start : start + length]


def collapse(buffer: memoryview) -> None:
    """Make the kernel put small pages together to huge ones; it moves what it can."""
    whole = buffer.obj
    assert isinstance(whole, mmap.mmap)
    start = -uaddr_of(whole) % (2 << 20)
    whole.madvise(mmap.MADV_HUGEPAGE, start, len(buffer))
    # It tells what it could not do.
    with suppress(OSError):
        whole.madvise(_MADV_COLLAPSE, start, len(buffer))


def small(length: int) -> memoryview:
    """Return a buffer of 4 KiB pages that could be huge ones."""
    buffer = aligned(length)
    whole = buffer.obj
    assert isinstance(whole, mmap.mmap)
    whole.madvise(mmap.MADV_NOHUGEPAGE)
    buffer[:] = bytes(length)
    return buffer


def transparent(length: int) -> memoryview:
    """Return a buffer of transparent huge pages."""
    buffer = aligned(length)
    whole = buffer.obj
    assert isinstance(whole, mmap.mmap)
    whole.madvise(mmap.MADV_HUGEPAGE)
    buffer[:] = bytes(length)
    return buffer


def list_is_the_page_maps(buffer: mmap.mmap | memoryview) -> list[tuple[int, int]]:
    """Pin a buffer and a part of it, compare with an independent reading, return the runs."""
    with phyr.pin(buffer) as pinned:
        runs = runs_of(pages_of(pinned.uaddr, len(buffer)))
        assert [tuple(chunk) for chunk in pinned.phyr.chunks] == runs
        assert pinned.moved() is None
    view = memoryview(buffer)[0x1234:0x5432]
    with phyr.pin(view) as pinned:
        pages = pages_of(pinned.uaddr & -PAGE, 5 * PAGE)
        assert pinned.uaddr % PAGE == 0x234
        for position in range(0, len(view), 0x111):
            page = pages[(0x234 + position) // PAGE]
            assert pinned.phyr[position] == page * PAGE + (0x234 + position) % PAGE
    view.release()
    return runs


@checks.on("none")
def list_of_small_pages_is_the_page_maps() -> object:
    runs = list_is_the_page_maps(scattered(SIZE))
    assert len(runs) > 500
    return {"chunks": len(runs)}


@checks.on("none")
def list_of_reserved_huge_pages_is_the_page_maps() -> object:
    runs = list_is_the_page_maps(huge(2))
    assert all(length % (2 << 20) == paddr % (2 << 20) == 0 for paddr, length in runs)
    return {"chunks": len(runs)}


@checks.on("none")
def list_of_transparent_huge_pages_is_the_page_maps() -> object:
    runs = list_is_the_page_maps(transparent(SIZE))
    assert all(length % (2 << 20) == paddr % (2 << 20) == 0 for paddr, length in runs)
    return {"chunks": len(runs)}


def collapsing(pinned: phyr.Pinned, buffer: memoryview) -> tuple[int, int | None]:
    """Collapse a pinned buffer; return how many pages moved, and what the pin says."""
    before = pages_of(pinned.uaddr, SIZE)
    collapse(buffer)
    after = pages_of(pinned.uaddr, SIZE)
    return sum(a != b for a, b in zip(before, after, strict=True)), pinned.moved()


@checks.on(*KINDS)
def mlock_lets_pages_move() -> object:
    buffer = small(SIZE)
    with phyr.pin(buffer, method="mlock") as pinned:
        moved, first = collapsing(pinned, buffer)
        assert moved > 0
        assert first is not None
    return {"pages": SIZE // PAGE, "moved": moved}


def pages_stay(method: str, make: Callable[[memoryview], phyr.Pinned]) -> None:
    """Collapse what is pinned; no page moves."""
    buffer = small(SIZE)
    with make(buffer) as pinned:
        assert pinned.method == method
        assert collapsing(pinned, buffer) == (0, None)


@checks.on(*KINDS)
def io_uring_keeps_pages_where_they_are() -> None:
    pages_stay("io_uring", phyr.pin)


@contextmanager
def backend_of(make: Callable[[], Type1 | Ioas]) -> Iterator[Type1 | Ioas]:
    with pci.bound(EDU, "vfio-pci") as function, make() as backend:
        backend.open(function)
        yield backend


@checks.on(*IOMMUS)
def type1_keeps_pages_where_they_are() -> None:
    with backend_of(Type1) as backend:
        pages_stay("vfio", lambda buffer: phyr.pin(buffer, backend=backend))


@checks.on(*IOMMUS)
def iommufd_keeps_pages_where_they_are() -> None:
    if not Path("/dev/iommu").exists():
        raise Skip("this kernel has no iommufd")
    with backend_of(Ioas) as backend:
        pages_stay("iommufd", lambda buffer: phyr.pin(buffer, backend=backend))


@checks.on("none")
def memory_that_is_not_there_is_not_pinned() -> None:
    with raises(phyr.PinError):
        phyr.pin((PAGE, 2 * PAGE))
