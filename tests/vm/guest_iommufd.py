"""Checks of iommufd's page tables: of a device, and of the kernel's mock of an IOMMU."""

import errno
import os
import random
import struct

from backends import BOTH, edu_of, iommufd, pattern
from harness import EDU, IOMMUS, PAGE, Checks, Edu, Skip, kind, raises, scattered, uaddr_of

import phyr
from phyr import Phyr, VfioError, pci
from phyr._devices import uapi
from phyr._phyr import Loan
from phyr.iommu import Direction, Prot, dma_map
from phyr.iommufd import Ioas

checks = Checks()


def copy(edu: Edu, dma: Phyr, source: int, target: int) -> None:
    """Let the device copy 64 bytes inside a mapping."""
    edu.fetch(dma[source], 64)
    edu.store(dma[target], 64)


@checks.on(*IOMMUS)
def iommufd_device_sees_memory_by_a_page_table() -> object:
    """By a table of its own, and then by the address space again."""
    buffer = scattered(2 * PAGE)
    buffer[:] = before = pattern(17, len(buffer))
    with edu_of(space := iommufd()) as edu, phyr.pin(buffer) as pinned:
        try:
            table = space.page_table(edu.device)
        except VfioError as error:
            assert error.errno == errno.EOPNOTSUPP, error  # noqa: PT017
            assert (kind(), os.environ["PHYR_VM_KERNEL"]) == ("virtio", "iommufd")
            table = None
        if table is not None:
            with table:
                table.attach(edu.device)
                # A mapping that comes later than the table.
                with dma_map(pinned.phyr, space, BOTH) as mapping:
                    copy(edu, mapping.dma, 8, PAGE)
        with dma_map(pinned.phyr, space, BOTH) as mapping:
            copy(edu, mapping.dma, 100, PAGE + 64)
            if table is None:
                copy(edu, mapping.dma, 8, PAGE)
        # No IOMMU of QEMU 7.2 keeps track of dirty memory.
        with raises(VfioError, errno=errno.EOPNOTSUPP):
            space.page_table(edu.device, tracks=True)
    assert buffer[:PAGE] == before[:PAGE]
    assert buffer[PAGE : PAGE + 128] == before[8:72] + before[100:164]
    return {"table": table is not None}


@checks.on(*IOMMUS)
def iommufd_device_reaches_a_copied_mapping() -> None:
    buffer = scattered(3 * PAGE)
    buffer[:] = before = pattern(19, len(buffer))
    with (
        pci.bound(EDU, "vfio-pci") as function,
        iommufd() as one,
        Ioas(beside=one) as two,
        two.open(function) as device,
        phyr.pin(buffer) as pinned,
    ):
        edu = Edu(device)
        part = pinned.phyr[0x10 : 2 * PAGE + 0x20]
        with dma_map(part, one, BOTH) as mapping:
            copied = two.copy(mapping.dma, one)
        # The copy holds the memory by itself.
        copy(edu, copied, 0, PAGE)
        two.unmap(copied, BOTH)
        read_only = two.copy(
            Phyr.from_chunks([(one.map_user(uaddr_of(buffer), PAGE, Prot.READ), PAGE)]),
            one,
            Direction.TO_DEVICE,
        )
        edu.fetch(read_only[0], 8)
    at = PAGE + 0x10
    assert buffer[at : at + 64] == before[0x10:0x50]
    assert buffer[:at] + buffer[at + 64 :] == before[:at] + before[at + 64 :]


# The kernel's mock: drivers/iommu/iommufd/iommufd_test.h, with CONFIG_IOMMUFD_TEST. Linux 6.12 lets
# it do nothing where there is an Intel IOMMU.

_MOCK_DOMAIN, _CHECK_MAP, _DIRTY = 2, 3, 13


def _mock(fd: int, what: int, number: int, fields: bytes = b"") -> bytearray:
    """Ask the mock for something; return its reply."""
    argument = bytearray(struct.pack("=4I", 72, what, number, 0) + fields.ljust(56, b"\0"))
    try:
        uapi.ioctl(fd, 0x3BA0, argument)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):
            raise Skip("this kernel has no mock of an IOMMU") from None
        raise
    return argument


def _domain(space: Ioas) -> tuple[int, int]:
    """Plug in a mock of a device: the numbers of its page table and its own."""
    return struct.unpack_from("=II", _mock(space.fd, _MOCK_DOMAIN, space.number), 20)


def _make_dirty(space: Ioas, table: int, iova: int, bits: bytearray) -> int:
    """Have the mock do as if a device had written to these pages; return how many it took."""
    with Loan(bits) as (uaddr, size):
        fields = struct.pack("=6Q", 0, iova, 8 * size * PAGE, PAGE, uaddr, 0)
        reply = _mock(space.fd, _DIRTY, table, fields)
    return int.from_bytes(reply[56:64], "little")


@checks.on("none")
def iommufd_mock_tells_dirty_memory() -> object:
    """Have the mock make pages dirty, and read which."""
    drawn = random.Random(5)  # noqa: S311
    nr_pages = 303
    buffer = scattered((nr_pages + 1) * PAGE)
    with iommufd() as space:
        _, device = _domain(space)
        with space.page_table(device, tracks=True) as table, phyr.pin(buffer) as pinned:
            phyr_of = pinned.phyr[0x100 : nr_pages * PAGE + 0x80]
            with dma_map(phyr_of, space, BOTH) as mapping:
                base, length = mapping.dma[0] - 0x100, (nr_pages + 1) * PAGE
                table.track(on=True)
                for round_ in range(20):
                    pages = set(drawn.sample(range(nr_pages), drawn.randrange(1, nr_pages)))
                    bits = bytearray(-(-(nr_pages + 1) // 8))
                    for page in pages:
                        bits[page // 8] |= 1 << page % 8
                    if _make_dirty(space, table.number, base, bits) != len(pages):
                        # Its Linux 6.12 takes the request and does nothing.
                        assert os.environ["PHYR_VM_KERNEL"] == "iommufd"
                        return {"rounds": 0}
                    found = table.dirty_bitmap(base, length, clear=False)
                    assert found == bits[: len(found)], round_
                    there = table.dirty(mapping.dma, clear=False)
                    memory = table.dirty(mapping.dma, phyr_of)
                    assert there.length == memory.length
                    starts = [range(at & -PAGE, at + size, PAGE) for at, size in there.chunks]
                    seen = {(at - base) // PAGE for each in starts for at in each}
                    assert seen == pages, round_
                    wanted = [
                        phyr_of[max(page * PAGE - 0x100, 0) : (page + 1) * PAGE - 0x100]
                        for page in sorted(pages)
                    ]
                    assert sum(part.length for part in wanted) == memory.length
                    position = 0
                    for part in wanted:
                        assert memory[position : position + part.length] == part
                        position += part.length
                    assert not table.dirty(mapping.dma)
    return {"rounds": 20}


@checks.on("none")
def iommufd_mock_finds_a_copy_at_its_address() -> None:
    """Let the mock compare the pages of a mapping and of its copy with the buffer's."""
    buffer = scattered(16 * PAGE)
    with iommufd() as one, Ioas(beside=one) as two:
        tables = [(space, _domain(space)[0]) for space in (one, two)]
        for space in (one, two):
            # The mock maps only some addresses, and phyr learns of them from this.
            space.page_table(_domain(space)[1]).close()
        iova = one.map_user(uaddr_of(buffer), len(buffer), Prot.READ | Prot.WRITE)
        two.map_user(uaddr_of(buffer), PAGE, Prot.READ)
        copied = two.copy(Phyr.from_chunks([(iova, len(buffer))]), one)
        assert copied[0] != iova
        for (space, table), at in zip(tables, (iova, copied[0]), strict=True):
            fields = struct.pack("=3Q", at, len(buffer), uaddr_of(buffer))
            _mock(space.fd, _CHECK_MAP, table, fields)
        other = struct.pack("=3Q", iova, PAGE, uaddr_of(buffer) + PAGE)
        with raises(OSError):
            _mock(one.fd, _CHECK_MAP, tables[0][1], other)
