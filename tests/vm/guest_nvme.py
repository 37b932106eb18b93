"""The example driver moves bytes through every backend, and the kernel's own driver agrees.

The host compares the drive's image with `image` afterwards.
"""

import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stdout, suppress
from pathlib import Path

from harness import (
    IOMMUS,
    KINDS,
    NVME,
    PAGE,
    TRACING,
    Checks,
    Skip,
    faults,
    fork,
    kind,
    log,
    mapped_in,
    raises,
    scattered,
)

import phyr
from phyr import Phyr, desc, pci
from phyr.iommu import DeviceLimits, Direct, Direction, dma_map
from phyr.vfio import NoIommu

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import nvme
import nvme_queues
from kernel import BUILT

checks = Checks()
BLOCK = 512
DISK = Path("/dev/nvme0n1")
PIECE = (6 << 20) + 3 * BLOCK
"""Bytes that each run of the example writes."""


def backends(kind: str) -> tuple[str, ...]:
    """Return the backends that a kind of IOMMU allows, and Debian's own kernels do or do not."""
    if os.environ.get("PHYR_VM_KERNEL", "iommufd") not in BUILT:
        return () if kind == "none" else ("type1",)
    return ("none",) if kind == "none" else ("type1", "iommufd")


def runs(kind: str) -> list[tuple[str, str, int]]:
    """Return the runs of the example: backend, further option, first block."""
    options = ("--prp", "--poll")
    names = [(backend, option) for backend in backends(kind) for option in options]
    return [(*name, 7 + number * (PIECE // BLOCK + 1)) for number, name in enumerate(names)]


def piece(block: int) -> bytes:
    """Return what is written at a block."""
    return random.Random(block).randbytes(PIECE)  # noqa: S311


def image(kind: str) -> bytes:
    """Return what the start of the drive holds in the end."""
    whole = bytearray()
    for *_, block in runs(kind):
        whole = whole.ljust(block * BLOCK + PIECE, b"\0")
        whole[block * BLOCK : block * BLOCK + PIECE] = piece(block)
    return bytes(whole)


@contextmanager
def drive(backend: str, *, sgl: bool = False) -> Iterator[nvme.Nvme]:
    """Open the drive, and give it back."""
    with (
        pci.bound(NVME, "vfio-pci") as function,
        nvme.BACKENDS[backend]() as opened,
        opened.open(function) as device,
        closing(nvme.Nvme(device, opened, sgl=sgl)) as found,
    ):
        yield found


def stored(length: int) -> tuple[int, bytes]:
    """Return a block, and what the drive holds from there, as the kernel's own driver says."""
    if not backends(kind()):
        raise Skip("this kernel has no VFIO without IOMMU")
    block = 7
    with disk().open("rb") as file:
        file.seek(block * BLOCK)
        return block, file.read(length)


def disk() -> Path:
    """Wait for the kernel's driver to have the drive again."""
    for _ in range(500):
        if DISK.exists() and DISK.stat().st_rdev:
            try:
                with DISK.open("rb"):
                    return DISK
            except OSError:
                pass
        time.sleep(0.01)
    raise TimeoutError(f"no {DISK}")


@checks.on(*KINDS)
def nvme_example_copies_a_file_there_and_back() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        for backend, option, block in runs(kind()):
            options = [*filter(None, [option]), "--backend", backend, "--block", str(block)]
            source.write_bytes(piece(block))
            with redirect_stdout(sys.stderr):  # the lines there are for the host
                nvme.main([NVME, "write", str(source), *options])
                nvme.main([NVME, "read", str(target), *options, "--count", str(PIECE // BLOCK)])
            assert target.read_bytes() == piece(block), (backend, option)


@checks.on(*KINDS)
def nvme_driver_of_the_kernel_is_back_and_reads_what_the_example_wrote() -> None:
    assert disk().read_bytes()[: len(image(kind()))] == image(kind())


@checks.on(*KINDS)
def nvme_example_copies_with_1_to_63_commands_in_flight() -> None:
    length = (1 << 20) + BLOCK
    block, expected = stored(length)
    for backend in backends(kind()):
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            target = Path(folder, "target")
            for depth, size, *more in ((1, PAGE), (3, 7 * BLOCK, "--poll"), (63, 16 * PAGE)):
                sizes = ["--depth", str(depth), "--size", str(size), *map(str, more)]
                options = ["--backend", backend, "--block", str(block), *sizes]
                count = str(length // BLOCK)
                nvme.main([NVME, "read", str(target), *options, "--count", count])
                assert target.read_bytes() == expected, sizes
                nvme.main([NVME, "write", str(target), *options])
    assert stored(length) == (block, expected)


def needs_no_page_numbers(backend: nvme.Backend) -> None:
    """Map and pin a buffer by its address."""
    assert not isinstance(backend, NoIommu)
    data = bytearray(3 * PAGE)
    with (
        phyr.pin(data, backend=backend) as pinned,
        dma_map(data, backend, Direction.BIDIRECTIONAL) as mapping,
    ):
        assert pinned.dma.length == mapping.dma.length == len(data)
        assert pinned.dma[0] != mapping.dma[0]
        assert (pinned.phyr.kind, pinned.phyr.length) == ("user", len(data))
        with dma_map(pinned.phyr[PAGE:], backend, Direction.TO_DEVICE) as part:
            assert (part.dma.kind, part.dma.length) == ("ram", 2 * PAGE)
        for refuse in (desc.prp, lambda phyr: dma_map(phyr, Direct(), Direction.TO_DEVICE)):
            with raises(phyr.MismatchError):
                refuse(pinned.phyr)
        with raises(phyr.HiddenPagesError):
            pinned.moved()


@checks.on(*IOMMUS)
def nvme_example_runs_as_an_ordinary_user() -> None:
    """Without any capability, on a device whose file is the user's."""
    user, block = 1000, 7
    expected = stored(PIECE)[1]
    function = pci.Function(NVME)
    for backend in backends(kind()):
        function.bind("vfio-pci")
        cdev = next((function.path / "vfio-dev").glob("vfio*"), None)
        files = [Path("/dev/vfio") / str(function.group), Path("/dev/vfio/vfio")]
        if backend == "iommufd":
            assert cdev is not None
            files = [Path("/dev/vfio/devices") / cdev.name, Path("/dev/iommu")]
        for path in files:
            os.chown(path, user, user)

        def child(backend: str = backend) -> None:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 20, 64 << 20))
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            with suppress(phyr.HiddenPagesError):
                phyr.pin(bytearray(8))
                raise AssertionError("there is a capability left")
            with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
                target = Path(folder, "target")
                options = ["--backend", backend, "--block", str(block)]
                count = str(PIECE // BLOCK)
                nvme.main([NVME, "read", str(target), *options, "--count", count])
                assert target.read_bytes() == expected
            with nvme.BACKENDS[backend]() as opened, opened.open(NVME):
                needs_no_page_numbers(opened)

        assert os.waitpid(fork(child), 0)[1] == 0, backend
        for path in files:
            os.chown(path, 0, 0)
        assert function.driver == "vfio-pci"
        function.restore()


@checks.on(*KINDS)
def nvme_queues_example_reads_by_several_queues() -> dict[str, object]:
    """Rings of commands in the program's memory by one backend, in the drive's own by another."""
    known = backends(kind())
    if not known:
        raise Skip("this kernel has no VFIO without IOMMU")
    expected = disk().read_bytes()[: 1 << 20]
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        target = Path(folder, "target")
        for backend, option in ((known[0], []), (known[-1], ["--inside"])):
            words = [NVME, str(target), "--backend", backend, "--count", "2048", *option]
            done = nvme_queues.main(words)
            assert target.read_bytes() == expected, words
            assert done == [4] * 4, done
            target.unlink()
    return {"commands": done}


@checks.on("intel", "none")
def nvme_prp_lists_are_chained_past_513_pages() -> dict[str, int]:
    length = 3 << 20  # QEMU's drive itself takes no more than 1024 pages
    block, expected = stored(length)
    figures = {}
    for backend in backends(kind()):
        with (
            scattered(length + PAGE) as buffer,
            phyr.pin(buffer) as pinned,
            drive(backend) as opened,
            dma_map(pinned.phyr, opened.backend, Direction.FROM_DEVICE) as mapping,
        ):
            dma = mapping.dma[BLOCK : BLOCK + length]
            figures[backend] = desc.prp(dma, opened.blocks.lists[0][1]).lists.nents
            assert figures[backend] == 768, "pages behind the first"
            opened.submit(nvme.READ, block, dma)
            opened.blocks.wait()
            assert buffer[BLOCK : BLOCK + length] == expected
    return figures


@checks.on(*IOMMUS)
def nvme_write_to_what_was_unmapped_faults_and_changes_nothing() -> None:
    for backend in backends(kind()):
        with (
            scattered(8 * PAGE) as buffer,
            phyr.pin(buffer) as pinned,
            log() as said,
            drive(backend) as opened,
        ):
            before = buffer[:]
            with dma_map(pinned.phyr, opened.backend, Direction.FROM_DEVICE) as mapping:
                gone = mapping.dma
            opened.submit(nvme.READ, runs(kind())[0][2], gone[:BLOCK])
            # A drive may say that it failed; QEMU's does not.
            with suppress(nvme.CommandError):
                opened.blocks.wait()
            assert buffer[:] == before
            if kind() == "intel":
                assert faults(said, NVME, {gone[0]}) >= {gone[0]}, "no fault in the kernel's log"


@checks.on(*KINDS)
def nvme_killed_in_the_middle_leaves_a_drive_that_starts_again() -> None:
    block, expected = stored(PIECE)
    for backend in backends(kind()):
        reading, writing = os.pipe()

        def child(backend: str = backend, writing: int = writing) -> None:
            with drive(backend, sgl=True) as opened, Path(os.devnull).open("wb") as file:
                while True:
                    os.write(writing, b".")
                    opened.copy(nvme.READ, file, block, PIECE)

        pid = fork(child)
        os.close(writing)  # a child that dies early must not leave this one waiting
        assert os.read(reading, 1) == b"."
        time.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        with drive(backend) as opened, tempfile.TemporaryFile() as file:
            opened.copy(nvme.READ, file, block, PIECE)
            file.seek(0)
            assert file.read() == expected, backend
        # The killed process could not give the drive back.
        pci.Function(NVME).restore()


_SG = re.compile(r"dma_map_sg: .* sizes=\{(.*?)\} phys_addrs=\{(.*?)\}")
_RECORD = struct.Struct("<QIIQII")


def segments(phyr: Phyr) -> list[tuple[int, int]]:
    """Return the address and length of each segment of our scatterlist under the drive's limits."""
    queue = Path("/sys/block/nvme0n1/queue")
    limits = {
        name: int((queue / name).read_text()) for name in ("max_segment_size", "virt_boundary_mask")
    }
    table = bytes(desc.scatterlist(phyr, vmemmap=0, limits=DeviceLimits(**limits)))
    found = []
    for link, offset, length, *_ in _RECORD.iter_unpack(table):
        if not link & 1:  # no link to a further block
            found.append(((link & ~3) // 64 * PAGE + offset, length))
    return found


_PHYS = re.compile(r"dma_map_phys: .* size=(\d+) phys_addr=(\w+)")


@contextmanager
def events(*names: str) -> Iterator[Callable[[], str]]:
    """Trace some events, of those that this kernel has; the function yielded reads them."""
    switches = [TRACING / "events" / name / "enable" for name in names]
    known = [switch for switch in switches if switch.exists()]
    (TRACING / "trace").write_text("")
    for switch in known:
        switch.write_text("1")
    try:
        yield (TRACING / "trace").read_text
    finally:
        for switch in known:
            switch.write_text("0")


def compare_lists(said: str, rest: Phyr) -> int:
    """Compare with what was mapped as scatterlists, segment by segment; return how many."""
    count = 0
    for sizes, paddrs in _SG.findall(said):
        lengths = [int(size, 16) for size in sizes.split(",")]
        starts = [int(paddr, 16) for paddr in paddrs.split(",")]
        mapped, rest = rest.split(sum(lengths))
        ours = segments(mapped)
        assert [paddr for paddr, _ in ours] == starts
        # The lengths are those of bus addresses, which an IOMMU makes one.
        assert lengths in ([length for _, length in ours], [mapped.length])
        count += len(ours)
    assert rest.length == 0, "the kernel mapped less"
    return count


def compare_stretches(said: str, rest: Phyr) -> int:
    """Compare with what was mapped by physical address, piece by piece; return how many."""
    count = 0
    for size, paddr in _PHYS.findall(said):
        mapped, rest = rest.split(int(size))
        assert list(mapped.chunks) == [(int(paddr, 16), int(size))]
        count += 1
    assert rest.length == 0, "the kernel mapped less"
    return count


def compare_pages(said: str, mapped: Phyr) -> int:
    """Compare with the pages that the IOMMU was told, in order; return how many."""
    ours = [
        at for start, length in mapped.chunks for at in range(start & -PAGE, start + length, PAGE)
    ]
    told = [
        at
        for _, paddr, length in mapped_in(said)
        for at in range(paddr, paddr + length, PAGE)
        if at in ours  # not the drive's own lists
    ]
    # Two requests may meet within a page.
    assert [at for at, before in zip(told, [None, *told], strict=False) if at != before] == ours
    return len(told)


@checks.on(*KINDS)
def nvme_driver_of_the_kernel_maps_the_scatterlist_that_the_list_says() -> dict[str, int]:
    if not (TRACING / "events" / "dma").exists():
        raise Skip("this kernel has no trace points of DMA")
    # From Linux 7 on the driver makes no scatterlist, but maps in two steps.
    has_steps = (TRACING / "events" / "dma" / "dma_map_phys").exists()
    start, length = 3 * BLOCK, 1 << 20
    nr_segments = 0
    with scattered(length + PAGE, seed=5) as buffer, phyr.pin(buffer) as pinned:
        fd = os.open(disk(), os.O_RDONLY | os.O_DIRECT)
        try:
            # A trace tells no more than 128 segments of a request.
            for at in range(start, start + length, length // 4):
                part = pinned.phyr[at : at + length // 4]
                with (
                    events("dma/dma_map_sg", "dma/dma_map_phys", "iommu/map") as said,
                    memoryview(buffer) as view,
                    view[at : at + length // 4] as target,
                ):
                    assert os.preadv(fd, [target], 7 * BLOCK) == length // 4
                    if not has_steps:
                        nr_segments += compare_lists(said(), part)
                    elif kind() == "none":
                        nr_segments += compare_stretches(said(), part)
                    else:
                        nr_segments += compare_pages(said(), part)
        finally:
            os.close(fd)
    return {"segments": nr_segments}


@checks.on("intel", "none")
def nvme_moves_bytes() -> dict[str, object]:
    """Megabytes a second read, by backend and bytes a command.

    As many are in flight as the example has.
    """
    total = 16 << 20
    figures: dict[str, object] = {}
    for backend in backends(kind()):
        # Huge pages, since QEMU's drive moves no more than 1024 pieces of memory by a command.
        with (
            phyr.alloc(total, huge="2M") as buffer,
            phyr.pin(buffer) as pinned,
            drive(backend, sgl=True) as opened,
            dma_map(pinned.phyr, opened.backend, Direction.FROM_DEVICE) as mapping,
        ):
            assert opened.sgl
            for lg2 in range(12, 24):
                size, moved = 1 << lg2, min(total, 256 << lg2)
                begun = done = 0
                start = time.perf_counter()
                while done < moved:
                    if opened.blocks.free and begun < moved:
                        part = mapping.dma[begun : begun + size]
                        opened.submit(nvme.READ, begun // BLOCK, part)
                        begun += size
                    else:
                        opened.blocks.wait()
                        done += size
                seconds = time.perf_counter() - start
                figures[f"{backend} {size >> 10} KiB"] = round(moved / seconds / 1e6, 1)
    return figures
