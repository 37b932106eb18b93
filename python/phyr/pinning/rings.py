"""Rings of io_uring that many pins share: a descriptor for thousands of them.

```text
ring      |  slot  |  slot  |  slot  |  ...  512, then 2048, then 8192 slots a ring
             one      free     one        a slot holds the pages of one pin
             pin               pin
```

No lock is needed, and none may be: whoever gives a slot back may be the garbage collector, in the
midst of this thread's own dealings here. Every step is one of a list's own, which are whole.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from phyr._phyr import Ring

__all__ = ["Rings", "Slot"]

SIZES = (512, 2048, 8192)
"""Slots of the first ring, of the second, of each one after those.

The kernel looks at every slot of a ring when a huge page is pinned, so the first are short.
"""


class Slot(NamedTuple):
    """A place for one pin."""

    ring: "Ring"
    number: int
    free: list[int]
    """The free places of its ring."""


class Rings:
    """Rings that are there for as long as the process; made when the slots of all are taken."""

    def __init__(self) -> None:
        """Have none."""
        self._rings: list[tuple[Ring, list[int]]] = []
        self._process = os.getpid()

    def take(self) -> Slot:
        """Return a free slot.

        Raises:
            OSError: The kernel gives no further ring; `errno` says why.
        """
        if self._process != os.getpid():
            # A fork that Python was not told of.
            self.forked()
        while True:
            for ring, free in self._rings:
                try:
                    return Slot(ring, free.pop(), free)
                except IndexError:
                    continue
            self._add()

    def _add(self) -> None:
        from phyr._phyr import Ring  # noqa: PLC0415 - there is none on other systems

        ring = Ring()
        size = SIZES[min(len(self._rings), len(SIZES) - 1)]
        ring.reserve(size)
        # The lowest number is taken first.
        self._rings.append((ring, list(reversed(range(size)))))

    def forked(self) -> None:
        """In a forked child: close its copies. What is pinned stays the parent's."""
        rings, self._rings = self._rings, []
        self._process = os.getpid()
        for ring, _ in rings:
            ring.abandon()
