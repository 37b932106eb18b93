"""The types of what is pinned and allocated."""

# ruff: noqa: F821

from phyr import Phyr, alloc, pin

buffer = alloc(4096, huge="thp")
reveal_type(buffer)  # Allocation
reveal_type(buffer.fallbacks)  # tuple[str, ...]
reveal_type(buffer.uaddr)  # int
reveal_type(memoryview(buffer))  # memoryview[int]

with pin(buffer) as pinned:
    pass
reveal_type(pinned)  # Pinned
reveal_type(pinned.phyr)  # Phyr
reveal_type(pinned.moved())  # int | None
reveal_type(pinned.method)  # str
reveal_type(Phyr.from_pfns([1]).uaddr)  # int | None
reveal_type(Phyr.from_pfns([1]).owner)  # Owner | None
