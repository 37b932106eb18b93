"""Interrupts: none is lost, none is left, whoever waits for them and however."""

import asyncio
import errno
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from phyr import VfioError, pci
from phyr.iommufd import Ioas
from phyr.pci.device import OPEN, Device
from phyr.pci.irqs import Irq, _set
from phyr.vfio import Type1
from support.fake_vfio import FakeKernel

ADDRESS = "0000:00:05.0"
MANY = 100_000
MSIX = 2


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    fake = FakeKernel(tmp_path, monkeypatch)
    fake.add(ADDRESS, 5, "vfio-pci")
    before = eventfds()
    yield fake
    assert eventfds() == before
    assert fake.open_files == []
    assert fake.enabled == {}
    assert OPEN == {}


@pytest.fixture
def device(kernel: FakeKernel) -> Iterator[Device]:
    assert kernel.enabled == {}
    with Type1() as backend, backend.open(ADDRESS) as opened:
        yield opened


def eventfds() -> int:
    """Count the eventfds that this process has open."""
    count = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += "eventfd" in str(path.readlink())
    return count


# The interrupts of a device.


@pytest.mark.parametrize("make", [Type1, Ioas])
def test_a_device_tells_its_interrupts(kernel: FakeKernel, make: type[Type1] | type[Ioas]) -> None:
    kernel.irqs = [1, 0, 8]
    with make() as backend, backend.open(ADDRESS) as device:
        found = {kind: (irqs.count, irqs.maskable) for kind, irqs in device.irqs.items()}
        assert found == {"intx": (1, True), "msix": (8, False)}
        assert repr(device.irqs["msix"]) == f"<8 msix interrupts of {ADDRESS}>"
        asked = kernel.calls
        assert device.irqs is device.irqs
        assert kernel.calls == asked


def test_through_sysfs_there_are_none(kernel: FakeKernel) -> None:
    with pci.bound(ADDRESS, None) as function, function.open() as device:
        asked = kernel.calls
        assert device.irqs == {}
        assert kernel.calls == asked


# Enabling and disabling.


def test_what_is_enabled_can_be_read_polled_and_triggered(
    kernel: FakeKernel, device: Device
) -> None:
    first, second = device.irqs["msix"].enable(2)
    assert (first.number, second.number) == (0, 1)
    assert repr(second) == f"<msix interrupt 1 of {ADDRESS}>"
    assert second.read() == 0
    second.trigger()
    second.trigger()
    assert select.select([first, second], [], [], 0)[0] == [second]
    assert (first.read(), second.read(), second.read()) == (0, 2, 0)
    kernel.interrupt(MSIX, 0)
    assert first.wait() == 1
    began = time.monotonic()
    assert first.wait(0.05) == first.wait(-1) == 0
    assert time.monotonic() - began >= 0.05
    assert len(device.irqs["msix"]._enabled) == 2  # noqa: SLF001


def test_without_a_number_all_are_enabled(device: Device) -> None:
    assert len(device.irqs["msi"].enable()) == 4


@pytest.mark.parametrize("count", [0, -1, 9])
def test_no_more_are_enabled_than_there_are(kernel: FakeKernel, device: Device, count: int) -> None:
    irqs = device.irqs["msix"]
    with pytest.raises(VfioError, match=rf"count {count}, most 8 \(the device has not") as caught:
        irqs.enable(count)
    assert caught.value.errno == errno.EINVAL
    assert kernel.enabled == {}


def test_kinds_exclude_each_other_and_themselves(kernel: FakeKernel, device: Device) -> None:
    device.irqs["msix"].enable(3)
    with pytest.raises(VfioError, match="some are enabled already"):
        device.irqs["msix"].enable(3)
    before = eventfds()
    with pytest.raises(VfioError, match="interrupts of another kind are enabled, perhaps"):
        device.irqs["msi"].enable()
    assert eventfds() == before
    device.irqs["msix"].disable()
    device.irqs["msix"].disable()
    assert kernel.enabled == {}
    (irq,) = device.irqs["msi"].enable(1)
    irq.trigger()
    assert irq.read() == 1


def test_what_is_disabled_says_so(device: Device) -> None:
    (irq,) = device.irqs["msix"].enable(1)
    device.irqs["msix"].disable()
    assert irq.fileno() == -1
    assert repr(irq).startswith("<disabled msix interrupt 0")
    for call in (irq.read, irq.wait, irq.trigger):
        with pytest.raises(VfioError, match="it is disabled") as caught:
            call()
        assert caught.value.errno == errno.EBADF

    async def main() -> int:
        return await irq

    with pytest.raises(VfioError, match="it is disabled"):
        asyncio.run(main())


def test_intx_masks_itself_and_msi_cannot_be_masked(kernel: FakeKernel, device: Device) -> None:
    (irq,) = device.irqs["intx"].enable()
    kernel.interrupt(0, 0)
    kernel.interrupt(0, 0)
    assert irq.read() == 1
    irq.unmask()
    assert irq.read() == 1, "it came while it was masked"
    irq.unmask()
    assert irq.read() == 0
    irq.mask()
    kernel.interrupt(0, 0)
    assert irq.read() == 0
    irq.unmask()
    assert irq.read() == 1
    device.irqs["intx"].disable()
    (irq,) = device.irqs["msi"].enable(1)
    for act in (irq.mask, irq.unmask):
        with pytest.raises(VfioError, match="does not mask those of this kind"):
            act()


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_whatever_fails_leaves_nothing_enabled(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    with Type1() as backend, backend.open(ADDRESS) as device:
        before = eventfds()
        # Three questions, then the request.
        kernel.calls, kernel.fail_at = 0, failing
        with pytest.raises(VfioError, match="Input/output error"):
            device.irqs["msix"].enable(2)
        assert (eventfds(), kernel.enabled) == (before, {})

        def short(_value: int, _flags: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        with monkeypatch.context() as patch:
            patch.setattr(os, "eventfd", short)
            with pytest.raises(VfioError, match=r"eventfd: Too many open files, kind msix"):
                device.irqs["msix"].enable(2)
        assert (eventfds(), kernel.enabled) == (before, {})
        assert len(device.irqs["msix"].enable(2)) == 2


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_of_the_program_leaves_none_enabled(
    kernel: FakeKernel, device: Device, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    irqs = device.irqs["msix"]
    real = irqs._act  # noqa: SLF001

    def stopped(index: int, action: int, first: int, count: int, fds: list[int] | None) -> None:
        if fds is None or after:
            real(index, action, first, count, fds)
        if fds is not None:
            raise KeyboardInterrupt

    if not after:
        # There is nothing to disable then, and the kernel says so.
        kernel.enabled[MSIX] = []
    monkeypatch.setattr(irqs, "_act", stopped)
    before = eventfds()
    with pytest.raises(KeyboardInterrupt):
        irqs.enable(2)
    assert (eventfds(), kernel.enabled) == (before, {})


# Closing.


def test_closing_a_device_disables_its_interrupts(kernel: FakeKernel) -> None:
    with Type1() as backend:
        device = backend.open(ADDRESS)
        (irq,) = device.irqs["msix"].enable(1)
        device.close()
        assert irq.fileno() == -1
        assert kernel.enabled == {}
        device = backend.open(ADDRESS)
        (irq,) = device.irqs["msix"].enable(1)
    assert irq.fileno() == -1


def test_what_was_pulled_out_is_closed_all_the_same(kernel: FakeKernel) -> None:
    with Type1() as backend, backend.open(ADDRESS) as device:
        device.irqs["msix"].enable(1)
        kernel.calls, kernel.fail_at, kernel.errno = 0, 1, errno.ENODEV
        device.irqs["msix"].disable()
        assert device.irqs["msix"]._enabled == ()  # noqa: SLF001


def test_a_forked_child_closes_its_copies_alone(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Type1() as backend, backend.open(ADDRESS) as device:
        device.irqs["msix"].enable(1)
        asked = len(kernel.log)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            device.close()
        assert not [line for line in kernel.log[asked:] if "ioctl" in line]


def test_closing_while_interrupts_come_leaves_none(kernel: FakeKernel) -> None:
    with Type1() as backend:
        device = backend.open(ADDRESS)
        (irq,) = device.irqs["msix"].enable(1)
        stop = threading.Event()

        def storm() -> None:
            while not stop.is_set():
                with suppress(KeyError, OSError):
                    kernel.interrupt(MSIX, 0)

        thread = threading.Thread(target=storm)
        thread.start()
        try:
            for _ in range(20):
                assert irq.wait(10)
            device.close()
        finally:
            stop.set()
            thread.join()
    with pytest.raises(VfioError, match="disabled"):
        irq.read()


# No interrupt is lost.


def interrupts(kernel: FakeKernel, numbers: range) -> threading.Thread:
    """Let the device interrupt many times, from another thread."""

    def run() -> None:
        for turn in range(MANY):
            kernel.interrupt(MSIX, numbers[turn % len(numbers)])

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_of_many_interrupts_none_is_lost_by_waiting(kernel: FakeKernel, device: Device) -> None:
    (irq,) = device.irqs["msix"].enable(1)
    thread = interrupts(kernel, range(1))
    got = 0
    while got < MANY:
        count = irq.wait(10)
        assert count
        got += count
    thread.join()
    assert (got, irq.wait(0)) == (MANY, 0)


def test_of_many_interrupts_none_is_lost_by_awaiting(kernel: FakeKernel, device: Device) -> None:
    irqs = device.irqs["msix"].enable(4)

    async def count(irq: Irq) -> int:
        got = 0
        while got < MANY // 4:
            got += await irq
        return got

    async def main() -> list[int]:
        thread = interrupts(kernel, range(4))
        got = await asyncio.wait_for(asyncio.gather(*map(count, irqs)), 60)
        thread.join()
        return list(got)

    assert asyncio.run(main()) == [MANY // 4] * 4
    assert [irq.read() for irq in irqs] == [0] * 4


def test_one_task_awaits_an_interrupt_and_may_be_cancelled(
    kernel: FakeKernel, device: Device
) -> None:
    (irq,) = device.irqs["msix"].enable(1)

    async def once() -> int:
        return await irq

    async def main() -> None:
        task = asyncio.create_task(once())
        await asyncio.sleep(0)
        with pytest.raises(VfioError, match="another task awaits it"):
            await irq
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        task = asyncio.create_task(once())
        await asyncio.sleep(0)
        kernel.interrupt(MSIX, 0)
        assert await asyncio.wait_for(task, 10) == 1
        # Told once, though the file is readable twice before the task goes on.
        task = asyncio.create_task(once())
        await asyncio.sleep(0)
        assert irq._waiting is not None  # noqa: SLF001
        irq._waiting.set_result(None)  # noqa: SLF001
        _set(irq._waiting)  # noqa: SLF001
        kernel.interrupt(MSIX, 0)
        assert await task == 1
        # Closed while it is awaited.
        task = asyncio.create_task(once())
        await asyncio.sleep(0)
        device.irqs["msix"].disable()
        with pytest.raises(VfioError, match="it is disabled"):
            await asyncio.wait_for(task, 10)

    asyncio.run(main())
