"""Checks of peers, of interrupts and of a second driver."""

import asyncio
import errno
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from backends import BOTH, Backend, edu_of, iommufd, noiommu, pattern
from harness import EDU, IOMMUS, NVME, PAGE, RNG, Checks, Edu, raises, scattered

import phyr
from phyr import VfioError, pci
from phyr.iommu import Prot, dma_map
from phyr.iommufd import Ioas
from phyr.vfio import Type1

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import virtio_rng

checks = Checks()


def edu_reaches_the_drives_memory(backend: Backend) -> None:
    """Copy to and from the NVMe drive's controller memory buffer, which is its BAR 2."""
    buffer = scattered(2 * PAGE)
    buffer[:] = before = pattern(11, len(buffer))
    with (
        pci.bound(EDU, "vfio-pci") as one,
        pci.bound(NVME, "vfio-pci") as other,
        backend,
        backend.open(one) as device,
        backend.open(other) as peer,
        phyr.pin(buffer) as pinned,
    ):
        edu, memory = Edu(device), peer.region(2)
        first = int((other.path / "resource").read_text().splitlines()[2].split()[0], 16)
        assert [tuple(chunk) for chunk in memory.phyr.chunks] == [(first, memory.length)]
        part = memory.phyr[PAGE + 0x100 : 3 * PAGE]
        with (
            dma_map(pinned.phyr, backend, BOTH) as mapping,
            dma_map(part, backend, BOTH) as theirs,
        ):
            # From this program's memory to the drive's.
            edu.fetch(mapping.dma[8], 64)
            edu.store(theirs.dma[16], 64)
            at = PAGE + 0x110
            assert bytes(memory.u8[at : at + 64]) == before[8:72]
            # And back, of what the program wrote there.
            memory.u32[(at + 64) // 4] = 0x600D_F00D
            edu.fetch(theirs.dma[16 + 64], 4)
            edu.store(mapping.dma[PAGE], 4)
    assert buffer[:PAGE] == before[:PAGE]
    assert buffer[PAGE : PAGE + 4] == b"\x0d\xf0\x0d\x60"


@checks.on(*IOMMUS)
def type1_edu_reaches_the_drives_memory() -> None:
    edu_reaches_the_drives_memory(Type1())


@checks.on(*IOMMUS)
def iommufd_edu_reaches_the_drives_memory() -> object:
    backend = iommufd()
    if os.environ["PHYR_VM_KERNEL"] == "newest":
        edu_reaches_the_drives_memory(backend)
        return {"by": "dma-buf"}
    with raises(VfioError, errno=errno.ENOTTY):
        edu_reaches_the_drives_memory(backend)
    return {"by": None}


@checks.on(*IOMMUS)
def iommufd_edu_reaches_a_memfd() -> object:
    """Copy to and from memory that the program need not have mapped."""
    fd = os.memfd_create("guest")
    os.truncate(fd, 4 * PAGE)
    os.pwrite(fd, pattern(13, 64), PAGE + 8)
    try:
        with edu_of(backend := iommufd()) as edu:
            try:
                iova = backend.map_file(fd, PAGE, 2 * PAGE, Prot.READ | Prot.WRITE)
            except VfioError:
                assert os.environ["PHYR_VM_KERNEL"] == "iommufd", "this kernel is older"
                return {"mapped": False}
            edu.fetch(iova + 8, 64)
            edu.store(iova + PAGE + 16, 64)
            backend.unmap_user(iova)
        assert os.pread(fd, 64, 2 * PAGE + 16) == pattern(13, 64)
    finally:
        os.close(fd)
    return {"mapped": True}


@checks.on("none")
def noiommu_edu_reaches_the_drives_memory() -> None:
    edu_reaches_the_drives_memory(noiommu())


def edu_interrupts(backend: Type1 | Ioas, many: int) -> dict[str, int]:
    """Let the device interrupt by MSI and by its pin, and the kernel many times in its stead."""
    few = 300
    with edu_of(backend) as edu:
        (irq,) = edu.device.irqs["msi"].enable(1)
        for _ in range(few):
            edu.interrupt()
            assert irq.wait(10) == 1
        # As fast as the kernel can.
        got = 0
        for turn in range(many):
            irq.trigger()
            if turn % 1000 == 0:
                got += irq.wait(10)
        assert got + irq.read() == many
        edu.device.irqs["msi"].disable()
        (irq,) = edu.device.irqs["intx"].enable(1)
        for _ in range(few):
            edu.registers.u32[0x60 // 4] = 1
            assert irq.wait(10) == 1
            # A pin stays up until the device is told.
            edu.registers.u32[0x64 // 4] = 1
            irq.unmask()
        assert irq.wait(0.01) == 0
        # In flight.
        edu.registers.u32[0x60 // 4] = 1
        edu.device.close()
        with raises(VfioError, errno=errno.EBADF):
            irq.read()
    left = Path("/proc/interrupts").read_text()
    assert "vfio" not in left, left
    return {"by MSI": few, "by the kernel": many, "by pin": few}


@checks.on(*IOMMUS)
def type1_interrupts_are_not_lost() -> object:
    return edu_interrupts(Type1(), 100_000)


@checks.on(*IOMMUS)
def iommufd_interrupts_are_not_lost() -> object:
    return edu_interrupts(iommufd(), 10_000)


@checks.on("none")
def noiommu_interrupts_are_awaited() -> None:
    async def main(edu: Edu) -> int:
        (irq,) = edu.device.irqs["msi"].enable(1)
        got = 0
        for _ in range(50):
            edu.interrupt()
            got += await asyncio.wait_for(wait(irq), 10)
        return got

    async def wait(irq: pci.Irq) -> int:
        return await irq

    with edu_of(noiommu()) as edu:
        assert asyncio.run(main(edu)) == 50


@checks.on(*IOMMUS)
def virtio_rng_example_reads_random_bytes() -> object:
    function = pci.Function(RNG)
    before = function.driver
    backends = ["type1", *(["iommufd"] if Path("/dev/iommu").exists() else [])]
    found = []
    for backend in backends:
        with redirect_stdout(sys.stderr):  # the lines there are for the host
            found.append(virtio_rng.main([RNG, "5000", "--backend", backend]))
    for data in found:
        assert len(data) == 5000
        # A byte in 256 is like any other; zeros would be memory that was never written.
        assert max(data.count(value) for value in range(256)) < 100
    assert len(set(found)) == len(found)
    assert function.driver == before
    return {"backends": len(found)}
