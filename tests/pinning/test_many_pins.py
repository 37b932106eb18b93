"""Many pins: they share rings of io_uring and one page map, through forks and at the limits."""

import errno
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

import phyr
from phyr import pagemap
from phyr._phyr import Ring
from phyr.pagemap import Pagemap, own
from phyr.pagemap.proc import is_device_memory
from phyr.pinning import methods
from support.live import PAGE, linux, python, ring_is_allowed, shown, uring
from support.pages import addresses, frames, pinned_bytes, private, status, where
from support.rings import Rings
from support.together import together

LIST = """
import os
def names():
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass
    return found
"""


@uring
def test_a_slot_of_a_ring_is_emptied_and_taken_again() -> None:
    area = private(3 * PAGE)
    uaddr, _ = where(area)
    ring = Ring()
    ring.reserve(2)
    assert ring.release(1), "one that is empty stays so"
    assert not ring.release(2), "there is no such slot"
    for _ in range(3):
        ring.register(0, uaddr, PAGE)
        ring.register(1, uaddr + PAGE, 2 * PAGE)
        assert pinned_bytes() == 3 * PAGE
        assert ring.release(1)
        assert pinned_bytes() == PAGE
        assert ring.release(0)
        assert pinned_bytes() == 0
    ring.unregister()


# Many pins


def descriptors() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@shown
@uring
def test_pins_share_rings_and_the_page_map() -> None:
    area = private(PAGE)
    uaddr, _ = where(area)
    phyr.pin(area).unpin()
    before = descriptors()
    with ExitStack() as stack:
        for _ in range(3000):
            stack.enter_context(phyr.pin((uaddr, PAGE)))
        # Rings of 512, 2048 and 8192 slots, of which one was there.
        assert descriptors() <= before + 2
        assert pinned_bytes() == 3000 * PAGE
    slots = {
        (slot.number, id(slot.ring)) for slot in (methods.Registered.shared.take() for _ in "ab")
    }
    assert len(slots) == 2
    again = descriptors()
    with ExitStack() as stack:
        for _ in range(3000):
            stack.enter_context(phyr.pin((uaddr, PAGE)))
        assert descriptors() == again


@shown
@uring
def test_a_slot_that_is_not_emptied_is_not_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rings = Rings(monkeypatch, "release", 0)
    area = private(PAGE)
    phyr.pin(area).unpin()
    with phyr.pin(area) as pinned:
        assert pinned._hold._pinner._slot.number == 1  # type: ignore[attr-defined] # noqa: SLF001
    rings.close()


@shown
@uring
def test_threads_pin_and_unpin_at_once() -> None:
    area = private(64 * PAGE)
    uaddr, _ = where(area)
    for at in range(0, len(area), PAGE):
        area[at] = 1
    right = dict(zip(range(64), frames(uaddr, len(area)), strict=True))

    def work(seed: int) -> None:
        for turn in range(100):
            page = (seed * 7 + turn) % 64
            with phyr.pin((uaddr + page * PAGE, PAGE)) as pinned:
                assert pinned.phyr[0] == right[page] * PAGE

    assert together(partial(work, seed) for seed in range(8)) == []
    assert len(own.KEPT) <= own.MOST


FEW_FILES = """
import resource, mmap, phyr, phyr.pinning
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, 4096))
area = mmap.mmap(-1, 3 * mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
open_files = []
{first}
try:
    while True:
        open_files.append(open("/dev/null"))
except OSError:
    pass
for _ in range({spared}):
    open_files.pop().close()
try:
    pins = [phyr.pin(area) for _ in range({count})]
except phyr.PinError as error:
    print(error.errno, error.name, error.limit)
else:
    print(len(pins))
    for pin in pins: pin.unpin()
"""


@shown
@uring
@pytest.mark.parametrize(
    ("first", "spared", "count", "said"),
    [
        # The ring, then the process's directory, then its page map.
        ("", 0, 1, "24 RLIMIT_NOFILE 64"),
        ("", 1, 1, "24 RLIMIT_NOFILE 64"),
        ("", 2, 1, "24 RLIMIT_NOFILE 64"),
        ("", 9, 1, "1"),
        ("phyr.pin(area).unpin()", 0, 512, "512"),
        ("phyr.pin(area).unpin()", 0, 513, "24 RLIMIT_NOFILE 64"),
    ],
)
def test_the_end_of_descriptors_is_a_pin_error(
    first: str, spared: int, count: int, said: str
) -> None:
    code = FEW_FILES.format(limit=64, first=first, spared=spared, count=count)
    run = python("-W", "ignore", "-c", code)
    assert run.stdout.strip() == said, run.stderr


FORK = (
    """
import os, phyr, mmap, subprocess, sys
from phyr.pagemap import own

LIST = """
    + repr(LIST)
    + """
exec(LIST)
area = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
pinned = phyr.pin(area)
parents = pinned.phyr[0]
assert any("uring" in name for name in names()) and any("pagemap" in name for name in names())
if os.fork() == 0:
    assert not own.KEPT, "the parent's page map"
    assert not [name for name in names() if "uring" in name or "pagemap" in name], names()
    area[0] = 7
    with phyr.pin(area) as childs:
        assert childs.phyr[0] != parents, "the child's own page"
        assert childs.moved() is None
    os._exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
assert pinned.moved() is None
assert pinned.phyr[0] == parents
pinned.unpin()
code = LIST + "print(names())"
said = subprocess.check_output([sys.executable, "-c", code], text=True, close_fds=False)
assert "stdin" in said or "pipe" in said or "null" in said, said
assert "uring" not in said and "pagemap" not in said, said
print("right")
"""
)


@shown
@uring
def test_a_forked_child_pins_by_rings_and_a_page_map_of_its_own() -> None:
    run = python("-c", FORK)
    assert run.stdout.strip() == "right", run.stderr


@shown
def test_a_page_map_that_cannot_be_opened_is_a_pin_error(monkeypatch: pytest.MonkeyPatch) -> None:
    area = private(PAGE)
    for number, text in (
        (errno.EMFILE, r"no page map to find the pages of a pin with: .* \(RLIMIT_NOFILE is "),
        (errno.EIO, "no page map to find the pages of a pin with: Input/output error$"),
    ):
        failure = OSError(number, os.strerror(number))
        monkeypatch.setattr("phyr.pinning.pinned.own_pages", Mock(side_effect=failure))
        with pytest.raises(phyr.PinError, match=text):
            phyr.pin(area, method="mlock")
        assert status("VmLck") == 0


@linux
def test_rings_of_a_parent_are_not_used_after_a_fork_that_python_was_not_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Rings(monkeypatch, "none", 0) if ring_is_allowed() else pytest.skip("no io_uring")
    shared = methods.Registered.shared
    first = shared.take()
    shared._process += 1  # noqa: SLF001
    made.close()
    assert shared.take().free is not first.free
    assert made.abandoned == 1
    made.close()


# The page map that is kept


def is_own(pagemap: Pagemap) -> bool:
    """Ask it anew."""
    return pagemap.is_own


@shown
def test_a_page_map_is_kept_and_only_while_it_is_what_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    area = private(PAGE)
    area[0] = 1
    uaddr, _ = where(area)
    right = addresses(uaddr, PAGE)[0]
    own.forget()
    assert own.own_pages(uaddr, PAGE)[0] == right
    [kept] = own.KEPT
    assert is_own(kept)
    assert own.own_pages(uaddr, PAGE)[0] == right
    assert [kept] == own.KEPT
    # Its number is another file's: records are read from that one no more, and it stays open.
    fd = kept._reader.pagemap  # noqa: SLF001
    with Path("/dev/zero").open("rb") as other:
        os.dup2(other.fileno(), fd)
    assert not is_own(kept)
    assert own.own_pages(uaddr, PAGE)[0] == right
    assert [kept] != own.KEPT
    os.close(fd)
    assert not is_own(kept)
    own.forget()
    os.close(kept._reader.process)  # noqa: SLF001
    # More than are kept.
    monkeypatch.setattr(own, "MOST", 0)
    before = descriptors()
    assert own.own_pages(uaddr, PAGE)[0] == right
    assert descriptors() == before


@shown
def test_memory_that_came_to_the_machine_meanwhile_is_looked_for_anew() -> None:
    area = private(PAGE)
    area[0] = 1
    uaddr, _ = where(area)
    with own.own_pagemap() as kept:
        kept._reader.ram = [(0, 0xFFF)]  # noqa: SLF001
    assert kept in own.KEPT
    assert own.own_pages(uaddr, PAGE)[0] == addresses(uaddr, PAGE)[0]
    assert kept not in own.KEPT
    for nowhere in (uaddr + (1 << 40), 1 << 47, 1 << 60):
        with pytest.raises(phyr.RangeError, match="not all in RAM"):
            own.own_pages(nowhere, PAGE)
    assert own.KEPT == []


@shown
def test_memory_of_a_device_is_called_so_where_it_cannot_be_pinned() -> None:
    # The kernel's own page of the clock has no page behind it either, as a BAR has none.
    [vvar] = [vma for vma in pagemap.vmas() if vma.name == "[vvar]"]
    with pytest.raises(phyr.RangeError, match="is a device's own memory, such as a BAR"):
        own.own_pages(vvar.start, PAGE)
    if ring_is_allowed():
        with pytest.raises(phyr.PinError, match=rf"{vvar.start:#x} is a device's own memory"):
            phyr.pin((vvar.start, PAGE))
    area = private(PAGE)
    uaddr, _ = where(area)
    with pytest.raises(phyr.RangeError, match="is not there: write to it first"):
        own.own_pages(uaddr, PAGE)
    assert not is_device_memory(1 << 62)


@shown
def test_what_one_read_does_not_hold_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    area = private(5 * PAGE)
    area[:] = b"x" * len(area)
    uaddr, length = where(area)
    own.forget()
    monkeypatch.setattr("phyr.pagemap.reader.PIECE", 2)
    found = own.own_pages(uaddr, length)
    assert [found[at] for at in range(0, length, PAGE)] == addresses(uaddr, length)[:-1]
    own.forget()
