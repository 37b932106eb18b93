"""The parts that checks in the guest share: running them, the edu device, traces, and the log.

A check is a function that a script (`guest_*.py`) adds to its `Checks`. It is run in a guest by
`guest.py`, which prints a line of JSON for each; `tests/devices/test_guest.py` makes a test of each
line. phyr and the standard library alone: starting Python in the guest is slow.
"""

import ctypes
import json
import mmap
import os
import random
import re
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from phyr import Phyr, pci

IOMMUS = ("intel", "amd", "virtio")
KINDS = (*IOMMUS, "none")
NVME = "0000:00:04.0"
EDU = "0000:00:05.0"
RNG = "0000:00:06.0"
PORT = "0000:00:07.0"
PAGE = 4096
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_MAP_HUGETLB = 0x40000


class Skip(Exception):  # noqa: N818 - no error
    """Raised by a check that this kernel gives no ground for."""


class Check(NamedTuple):
    """A check, and the kinds of IOMMU it is for."""

    name: str
    function: Callable[[], object]
    kinds: tuple[str, ...]


class Checks:
    """The checks of one script, in the order in which they are to run."""

    def __init__(self) -> None:
        self.all: list[Check] = []

    def on(self, *kinds: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
        """Add a function that is to run where the IOMMU is one of these.

        If it returns a dictionary of figures, they are printed.
        """

        def add(function: Callable[[], object]) -> Callable[[], object]:
            self.all.append(Check(function.__name__, function, kinds))
            return function

        return add


def run(checks: Sequence[Check]) -> bool:
    """Run checks in the guest, print a line for each, and tell whether none failed."""
    right = True
    for check in checks:
        began = time.perf_counter()
        line: dict[str, object] = {"check": check.name}
        try:
            figures = check.function()
            line |= {"passed": True, "figures": figures}
        except Skip as skip:
            line |= {"skipped": str(skip)}
        except BaseException:  # noqa: BLE001 - whatever it is, the next check is run
            right = False
            line |= {"passed": False, "why": traceback.format_exc()}
        line["seconds"] = round(time.perf_counter() - began, 2)
        print(json.dumps(line), flush=True)
    return right


@contextmanager
def raises(kind: type[BaseException], **numbers: object) -> Iterator[None]:
    """Expect an exception with these attributes."""
    try:
        yield
    except kind as error:
        got = {name: getattr(error, name) for name in numbers}
        if got != numbers:
            raise AssertionError(f"{error!r} has {got}, not {numbers}") from error
        return
    raise AssertionError(f"no {kind.__name__} came")


# Memory.


def uaddr_of(buffer: mmap.mmap) -> int:
    """Return the user virtual address of a buffer."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def scattered(length: int, seed: int = 1) -> mmap.mmap:
    """Return a buffer of 4 KiB pages, touched in random order and so scattered."""
    buffer = mmap.mmap(-1, length, flags=PRIVATE)
    buffer.madvise(mmap.MADV_NOHUGEPAGE)
    pages = list(range(0, length, PAGE))
    random.Random(seed).shuffle(pages)  # noqa: S311
    for position in pages:
        buffer[position] = 1
    return buffer


def huge(count: int) -> mmap.mmap:
    """Return a buffer of so many 2 MiB pages, set aside at boot."""
    buffer = mmap.mmap(-1, count << 21, flags=PRIVATE | _MAP_HUGETLB)
    for position in range(0, len(buffer), 1 << 21):
        buffer[position] = 1
    return buffer


def pages_of(uaddr: int, length: int) -> list[int]:
    """Return the physical page under each virtual one, as the kernel's page map says."""
    with Path("/proc/self/pagemap").open("rb") as file:
        file.seek(uaddr // PAGE * 8)
        data = file.read(length // PAGE * 8)
    return [word & (1 << 55) - 1 for word in struct.unpack(f"={length // PAGE}Q", data)]


def runs_of(pages: Sequence[int]) -> list[tuple[int, int]]:
    """Return the address and the length of each run of neighbouring pages."""
    runs: list[tuple[int, int]] = []
    for page in pages:
        if runs and page * PAGE == sum(runs[-1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + PAGE)
        else:
            runs.append((page * PAGE, PAGE))
    return runs


# The kernel as a witness.

TRACING = Path("/sys/kernel/tracing")
_RANGE = r"IOMMU: iova=0x(\w+) - 0x\w+"
_MAP = re.compile(rf" map: {_RANGE} paddr=0x(\w+) size=(\w+)")
# Unmapping the start of a large page unmaps all of it: what was done counts.
_UNMAP = re.compile(rf" unmap: {_RANGE} size=\w+ unmapped_size=(\w+)")


class Mapped(NamedTuple):
    """The calls to the IOMMU driver while a `traced` block ran."""

    maps: list[tuple[int, int, int]]
    """I/O virtual address, physical address and bytes of each run."""
    unmapped: int
    """Bytes."""


@contextmanager
def traced() -> Iterator[Callable[[], Mapped]]:
    """Trace the IOMMU; the function yielded reads what was traced so far."""
    events = TRACING / "events" / "iommu"
    if not events.exists():
        raise Skip("this kernel has no trace points of the IOMMU")
    (TRACING / "buffer_size_kb").write_text("8192")
    (TRACING / "trace").write_text("")
    for name in ("map", "unmap"):
        (events / name / "enable").write_text("1")
    try:
        yield _read_trace
    finally:
        for name in ("map", "unmap"):
            (events / name / "enable").write_text("0")


def _read_trace() -> Mapped:
    text = (TRACING / "trace").read_text()
    unmapped = sum(int(size, 0) for _, size in _UNMAP.findall(text))
    return Mapped(mapped_in(text), unmapped)


def mapped_in(trace: str) -> list[tuple[int, int, int]]:
    """Return the runs that a trace says were mapped: I/O address, physical address, bytes."""
    maps: list[tuple[int, int, int]] = []
    for iova, paddr, size in _MAP.findall(trace):
        one = (int(iova, 16), int(paddr, 16), int(size, 0))
        if maps and all(maps[-1][n] + maps[-1][2] == one[n] for n in (0, 1)):
            # One run, told in two pieces.
            maps[-1] = (*maps[-1][:2], maps[-1][2] + one[2])
        else:
            maps.append(one)
    return maps


def expected(iova: int, phyr: Phyr) -> list[tuple[int, int, int]]:
    """Return what a list should make the IOMMU driver map at an address."""
    found = []
    for paddr, length in phyr.chunks:
        found.append((iova, paddr, length))
        iova += length
    return found


_quiet_until = 0.0


@contextmanager
def log() -> Iterator[Callable[[], str]]:
    """Read the kernel's log: the function yielded returns what came since.

    Intel's driver tells of five faults in as many seconds, so this waits for the next five seconds.
    """
    global _quiet_until  # noqa: PLW0603 - the kernel's patience is one for all
    if kind() == "intel":
        time.sleep(max(_quiet_until - time.monotonic(), 0))
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(fd, 0, os.SEEK_END)

    def read() -> str:
        lines = []
        while True:
            try:
                lines.append(os.read(fd, 8192).decode(errors="replace"))
            except BlockingIOError:
                return "".join(lines)

    try:
        yield read
    finally:
        os.close(fd)
        _quiet_until = time.monotonic() + 5.1


# Linux 7 names the domain of the device as well.
_FAULT = r"DMA Write NO_PASID\] Request device \[(?:0000:)?{}\] fault addr (\w+)"


def faults(said: Callable[[], str], address: str, wanted: set[int]) -> set[int]:
    """Return where the kernel's log says that a device's writes failed; wait for those wanted.

    Only an Intel IOMMU tells: QEMU's AMD one (7.2) stops a stray access without a word.
    """
    text = ""
    found: set[int] = set()
    until = time.monotonic() + 3
    while not wanted <= found and time.monotonic() < until:
        time.sleep(0.02)
        text += said()
        found = {int(at, 16) for at in re.findall(_FAULT.format(re.escape(address[5:])), text)}
    return found


# The edu device.


class Edu:
    """QEMU's edu device: copies between memory and a buffer of its own.

    Source:
        docs/specs/edu.txt, QEMU.
    """

    AT = 0x40000
    """Where its buffer is, as the device itself sees it."""

    def __init__(self, device: pci.Device) -> None:
        self.device = device
        self.registers = device.region(0)
        assert self.registers.u32[0] & 0xFF == 0xED, hex(self.registers.u32[0])
        device.bus_master = True

    def start(self, source: int, target: int, length: int, *, write: bool) -> None:
        """Start a copy: `write` from its buffer to memory."""
        # One byte more would stop the guest in QEMU 7.2.
        assert length < PAGE
        self.registers.u64[0x80 // 8] = source
        self.registers.u64[0x88 // 8] = target
        self.registers.u64[0x90 // 8] = length
        self.registers.u64[0x98 // 8] = 3 if write else 1

    def wait(self) -> None:
        """Wait for the end of the copy."""
        for _ in range(1000):
            if not self.registers.u64[0x98 // 8] & 1:
                return
            time.sleep(0.01)
        raise TimeoutError("the edu device does not end its copy")

    def interrupt(self) -> None:
        """Have it interrupt, and take that back: by MSI it is then on its way."""
        self.registers.u32[0x60 // 4] = 1
        self.registers.u32[0x64 // 4] = 1

    def fetch(self, dma_addr: int, length: int) -> None:
        """Copy from memory into its buffer."""
        self.start(dma_addr, self.AT, length, write=False)
        self.wait()

    def store(self, dma_addr: int, length: int) -> None:
        """Copy from its buffer to memory."""
        self.start(self.AT, dma_addr, length, write=True)
        self.wait()


def fork(child: Callable[[], object]) -> int:
    """Run a function in a process of its own and return its number; its end is exit status 0."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        child()
        status = 0
    except BaseException:  # noqa: BLE001 - it must not return into the caller's stack
        traceback.print_exc()
    os._exit(status)


def kind() -> str:
    """Return which IOMMU the guest has."""
    return os.environ["PHYR_VM"]
