"""System calls about devices that fail: requests, files of sysfs, interrupts and regions.

The kernel of `fake_vfio` answers requests; everything else that phyr's code asks of the system
about a device (`SYSTEM`) goes to the real one. One call of all these, the n-th of its name, fails
with an errno; it then does nothing, as in a kernel that refuses it.
"""

import mmap
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from phyr._devices import uapi
from phyr.iommufd import ioas, page_table
from phyr.vfio import container, device, type1
from support.fake_vfio import FakeKernel
from support.refusal import fail

PHYR = str(Path(uapi.__file__).parents[1])
REQUESTS = {
    f"{request.number:#x}{' device' if 'HOT_RESET' in request.name else ''}": request.name
    for module in (container, device, type1, ioas, page_table)
    for request in vars(module).values()
    if isinstance(request, uapi.Request)
}
"""The names of the requests that phyr makes, by number; two numbers are of devices, too."""

SYSTEM: tuple[tuple[object, str, str], ...] = (
    (os, "pread", "pread64"),
    (os, "pwrite", "pwrite64"),
    (os, "fstat", "fstat"),
    (os, "dup", "dup"),
    (os, "eventfd", "eventfd2"),
    (os, "eventfd_read", "read"),
    (mmap, "mmap", "mmap"),
    (Path, "read_text", "read"),
    (Path, "readlink", "readlink"),
    (Path, "iterdir", "getdents64"),
)
"""Functions of Python that phyr calls directly, and the system calls that they are."""


class Fault(NamedTuple):
    """The n-th call of a name, from 0, fails with an errno; later ones do not."""

    call: str
    nth: int
    errno: int


class FailingKernel(FakeKernel):
    """A `FakeKernel` of which one call fails, by name and number."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, fault: Fault | None = None) -> None:
        """Replace the functions that ask the system."""
        super().__init__(root, patch)
        self.fault = fault
        self.counts: Counter[str] = Counter()
        self.failed_at = ""
        for place, name, call in SYSTEM:
            patch.setattr(place, name, self._failing(getattr(place, name), call))

    def _failing(self, real: Callable[..., Any], call: str) -> Callable[..., Any]:
        def function(*arguments: object, **named: object) -> object:
            # Other code, such as the kernel's stand-in, is not to fail.
            if sys._getframe(1).f_code.co_filename.startswith(PHYR):  # noqa: SLF001
                self.tell(call, str(arguments[:1]))
            return real(*arguments, **named)

        return function

    def tell(self, call: str, what: str) -> None:
        """Count a call. Raise if it is to fail."""
        nth = self.counts[call]
        self.counts[call] += 1
        if self.fault and (call, nth) == self.fault[:2]:
            self.failed_at = f"{call} {what}"
            raise fail(self.fault.errno)

    def _count(self, what: str) -> None:
        super()._count(what)
        kind, _, rest = what.partition(" ")
        if kind == "ioctl":
            self.tell(REQUESTS[rest], "")
        else:
            self.tell(kind, rest)
