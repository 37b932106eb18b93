"""Interrupts of a device, as eventfds: read them, wait for them, select or await them.

```text
device --> kernel --> eventfd   a count of interrupts, which reading takes and sets to 0
```

The kernel adds one for each interrupt, so none is lost: a driver checks its rings, waits if there
is nothing, and checks again. The system decides which processor takes an interrupt (``/proc/irq``).
"""

import errno
import os
import select
from asyncio import Future, get_running_loop
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TypeAlias

from phyr._devices.uapi import refused
from phyr.errors import VfioError

__all__ = ["KINDS", "Act", "Irq", "Irqs"]

KINDS = ("intx", "msi", "msix")
"""In the order of VFIO's numbers for them.

Source:
    ``VFIO_PCI_INTX_IRQ_INDEX`` and so on, include/uapi/linux/vfio.h, Linux.
"""

MASK, UNMASK, TRIGGER = 1 << 3, 1 << 4, 1 << 5
_MASKABLE = 1 << 1


Act: TypeAlias = Callable[[int, int, int, int, list[int] | None], None]
"""Asks for an action: number of the kind, action, first interrupt, how many, files or None."""


class Irq:
    """One enabled interrupt. It has a `fileno`, so `select` and similar functions accept it.

    Only one task at a time may await it: ``count = await irq``.
    """

    def __init__(self, irqs: "Irqs", number: int) -> None:
        """Only `Irqs.enable` makes one."""
        self._irqs = irqs
        self._waiting: Future[None] | None = None
        self.number = number
        """Which of its kind; of MSI-X, the vector."""
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __repr__(self) -> str:
        """Say which one it is."""
        state = "" if self._fd >= 0 else "disabled "
        return f"<{state}{self._irqs.kind} interrupt {self.number} of {self._irqs.address}>"

    def fileno(self) -> int:
        """Return its eventfd, which is readable when an interrupt has come; -1 when disabled."""
        return self._fd

    def read(self) -> int:
        """Return how many interrupts came since the last time, 0 if none. Does not wait.

        Raises:
            VfioError: It is disabled.
        """
        if self._fd < 0:
            raise self._disabled()
        try:
            return os.eventfd_read(self._fd)
        except BlockingIOError:
            return 0
        except OSError as failure:
            raise refused(failure, "interrupt", irq=self.number, kind=self._irqs.kind) from None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for interrupts, and return how many came; 0 if none did in time.

        Args:
            timeout: Seconds; without it, for ever.

        Raises:
            VfioError: It is disabled.
        """
        if not (count := self.read()):
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            poll.poll(None if timeout is None else max(timeout, 0) * 1e3)
            count = self.read()
        return count

    def __await__(self) -> Generator[object, None, int]:
        """Await interrupts; gives how many came.

        Raises:
            VfioError: It is disabled, now or while it is awaited; or another task awaits it.
        """
        while not (count := self.read()):
            if self._waiting is not None:
                failure = OSError(errno.EBUSY, "")
                raise refused(failure, "await", irq=self.number, kind=self._irqs.kind)
            loop = get_running_loop()
            self._waiting = ready = loop.create_future()
            loop.add_reader(self._fd, _set, ready)
            try:
                yield from ready
            finally:
                self._waiting = None
                if self._fd >= 0:
                    loop.remove_reader(self._fd)
        return count

    def mask(self) -> None:
        """Mask it. An interrupt that comes meanwhile is delivered when it is unmasked. INTx only.

        Raises:
            VfioError: The kernel masks none of this kind: those of MSI and MSI-X are masked at the
                device, if at all.
        """
        self._irqs.act(MASK, self.number)

    def unmask(self) -> None:
        """Unmask it. Each INTx interrupt masks INTx until this is called.

        Raises:
            VfioError: As of `mask`.
        """
        self._irqs.act(UNMASK, self.number)

    def trigger(self) -> None:
        """Let the kernel act as if the device had interrupted; for tests.

        Raises:
            VfioError: It is disabled.
        """
        if self._fd < 0:
            raise self._disabled()
        self._irqs.act(TRIGGER, self.number)

    def _disabled(self) -> VfioError:
        failure = OSError(errno.EBADF, "")
        return refused(failure, "interrupt", irq=self.number, kind=self._irqs.kind)

    def _close(self) -> None:
        """Close its file. A task that awaits it gets an error."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._waiting is not None:
                # The loop must not watch a number that may soon belong to another file.
                with suppress(RuntimeError):
                    self._waiting.get_loop().remove_reader(fd)
                    _set(self._waiting)
            os.close(fd)


def _set(ready: "Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


class Irqs:
    """The interrupts of one kind that a device has: INTx, MSI or MSI-X.

    One kind can be enabled at a time.

    Examples:
        .. code-block:: python

            admin, io = device.irqs["msix"].enable(2)
            while not done():
                io.wait()
    """

    def __init__(self, address: str, kind: str, flags: int, count: int, act: Act) -> None:
        """Only a device makes one."""
        self.address = address
        self.kind = kind
        """``intx``, ``msi`` or ``msix``."""
        self.count = count
        """How many the device has."""
        self.maskable = bool(flags & _MASKABLE)
        """True if the kernel masks them: INTx."""
        self._act = act
        self._enabled: tuple[Irq, ...] = ()

    def __repr__(self) -> str:
        """Say how many there are."""
        return f"<{self.count} {self.kind} interrupts of {self.address}>"

    def enable(self, count: int | None = None) -> tuple[Irq, ...]:
        """Enable the first `count`, all by default, and return them.

        Raises:
            VfioError: The kernel refused: the device has not as many, or another kind is enabled;
                or some of these are enabled already. Nothing is enabled then.
        """
        count = self.count if count is None else count
        numbers = {"kind": self.kind, "count": count, "most": self.count}
        if self._enabled:
            raise refused(OSError(errno.EBUSY, ""), "enable", **numbers)
        if not 1 <= count <= self.count:
            raise refused(OSError(errno.EINVAL, ""), "enable", **numbers)
        irqs: list[Irq] = []
        try:
            for number in range(count):
                irqs.append(Irq(self, number))  # noqa: PERF401 - an interrupt leaves none open
            self._enabled = tuple(irqs)
            self.act(TRIGGER, 0, [irq.fileno() for irq in irqs])
        except OSError as failure:
            self._forget(irqs)
            if isinstance(failure, VfioError):
                raise
            raise refused(failure, "eventfd", **numbers) from None
        except BaseException:
            self.disable()
            self._forget(irqs)
            raise
        return self._enabled

    def disable(self) -> None:
        """Disable them and close their eventfds. Does not fail. A second call does nothing."""
        if self._enabled:
            # A device that was removed makes no interrupts.
            with suppress(VfioError):
                self._act(KINDS.index(self.kind), TRIGGER, 0, 0, None)
            self.forget()

    def forget(self) -> None:
        """Close only the eventfds; for the copies in a forked child."""
        self._forget(self._enabled)

    def _forget(self, irqs: "tuple[Irq, ...] | list[Irq]") -> None:
        self._enabled = ()
        for irq in irqs:
            irq._close()  # noqa: SLF001 - they are this one's

    def act(self, action: int, first: int, fds: list[int] | None = None) -> None:
        """Ask the kernel for an action on interrupts from `first` on: one, or one for each file.

        Raises:
            VfioError: The kernel refused.
        """
        count = 1 if fds is None else len(fds)
        self._act(KINDS.index(self.kind), action, first, count, fds)
