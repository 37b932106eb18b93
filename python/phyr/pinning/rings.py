"""Rings of io_uring that many pins share: one file descriptor for thousands of pins.

```text
ring      |  slot  |  slot  |  slot  |  ...  512, then 2048, then 8192 slots a ring
             one      free     one        a slot holds the pages of one pin
             pin               pin
```

No lock is needed, and none is possible: the garbage collector may free a slot while this thread is
in the middle of a method here. Every step is one method of a list, which is done as a whole.
"""

import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from phyr._phyr import Ring

__all__ = ["Rings", "Slot"]

SIZES = (512, 2048, 8192)
"""Slots of the first ring, of the second, and of each ring after them.

The kernel reads every slot of a ring when a huge page is pinned, so the first rings are short.
"""


class Slot(NamedTuple):
    """A slot for one pin."""

    ring: "Ring"
    number: int
    free: list[int]
    """The free slots of its ring."""


class Rings:
    """Rings that exist as long as the process. A new one is made when all slots are in use."""

    def __init__(self) -> None:
        """Begin without rings."""
        self._rings: list[tuple[Ring, list[int]]] = []
        self._stuck: list[Slot] = []
        self._process = os.getpid()

    def take(self) -> Slot:
        """Return a free slot.

        Raises:
            OSError: The kernel gives no further ring; `errno` says why.
        """
        if self._process != os.getpid():
            # A fork that Python does not know of.
            self.forked()
        self._empty_stuck()
        while True:
            for ring, free in self._rings:
                try:
                    return Slot(ring, free.pop(), free)
                except IndexError:
                    continue
            self._add()

    def put(self, slot: Slot, *, is_empty: bool) -> None:
        """Keep an empty slot for another pin.

        The kernel may refuse to empty one, if it has no memory for the change. Then the memory
        stays pinned, and the kernel is asked again at each later pin.
        """
        if is_empty:
            slot.free.append(slot.number)
        else:
            self._stuck.append(slot)

    def _empty_stuck(self) -> None:
        # Another thread may take the last one first.
        with suppress(IndexError):
            for _ in range(len(self._stuck)):
                slot = self._stuck.pop(0)
                self.put(slot, is_empty=slot.ring.release(slot.number))

    def _add(self) -> None:
        from phyr._phyr import Ring  # noqa: PLC0415 - there is none on other systems

        ring = Ring()
        size = SIZES[min(len(self._rings), len(SIZES) - 1)]
        ring.reserve(size)
        # The lowest number is taken first.
        self._rings.append((ring, list(reversed(range(size)))))

    def forked(self) -> None:
        """In a forked child: close its copies. The memory stays pinned for the parent."""
        rings, self._rings = self._rings, []
        self._stuck = []
        self._process = os.getpid()
        for ring, _ in rings:
            ring.abandon()
